"""Where an evaluation is shown: journal, alarms, page and Kubeflow's metrics."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluated import NOISY

from advantageflow.settings import RewardSettings, RewardTerm
from advantageflow.store.files import read_json
from advantageflow.tracking.events import read_events, run_curves
from advantageflow.tracking.journal import stage_journal


def test_the_journal_gets_curves_pictures_and_the_report(
    evaluate: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    with stage_journal("evaluation", 2):
        report = evaluate("report", round_index=2)
    events = read_events(tmp_path / "journal")
    kinds = [event["event"] for event in events]
    assert kinds.index("useful") < kinds.index("progress") < kinds.index("metrics")
    curves = run_curves(events)
    metrics = read_json(report / "metrics.json")
    assert curves["evaluation/soft"] == {2: metrics["soft"]}
    assert f"strict accuracy {metrics['strict']:.3f}" in [e["text"] for e in events if e["event"] == "result"]
    assert curves["evaluation/task/counting"] == {2: metrics["tasks"]["counting"]}
    pictures = [event for event in events if event["event"] == "image"]
    assert len(pictures) == 6
    assert all(Path(event["path"]).exists() and event["step"] == 2 for event in pictures)


def test_a_policy_that_draws_noise_raises_alarms_and_the_base_s_own_images_none(
    evaluate: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = RewardSettings(watched=(RewardTerm(name="layout", column="beauty"),))
    base = evaluate("base", reward=watched)
    assert "base" not in read_json(base / "metrics.json")["statistics"]["sharpness"]
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    with stage_journal("evaluation", 1):
        same = evaluate("same", reward=watched, base=base, round_index=1)
    with stage_journal("evaluation", 2):
        other = evaluate("other", reward=watched, base=base, round_index=2, settings=NOISY, images=12)
    metrics = read_json(same / "metrics.json")
    assert metrics["alarms"] == []
    assert all(one["mean"] == one["base"] for one in metrics["statistics"].values())
    assert (
        metrics["watched"]["layout.beauty"]["mean"]
        == read_json(base / "metrics.json")["watched"]["layout.beauty"]["mean"]
    )
    assert "base and round" in (same / "report.html").read_text()
    assert "base and" not in (other / "report.html").read_text(), "it is of fewer images than the base's report"
    raised = [alarm["name"] for alarm in read_json(other / "metrics.json")["alarms"]]
    assert "velocity_norm_rise" in raised
    events = read_events(tmp_path / "journal")
    assert [(event["name"], event["step"]) for event in events if event["event"] == "alarm"] == [(n, 2) for n in raised]
    drawn = run_curves(events)
    assert drawn["alarm/velocity_norm_rise"] == {2: 1.0}
    assert set(drawn["image/velocity_norm"]) == set(drawn["watched/layout.beauty"]) == {1, 2}


def test_the_page_is_the_report_s_own_with_every_measure_and_the_alarms(
    evaluate: Callable[..., Path], tmp_path: Path
) -> None:
    base = evaluate("base")
    reward = RewardSettings(others=(RewardTerm(name="jpeg", column="compressibility"),))
    noisy = {"settings": NOISY, "base": base, "round_index": 3, "reward": reward}
    with stage_journal("evaluation", 3) as journal:
        report = evaluate("noisy", page_out=tmp_path / "page", **noisy)
    assert journal.path is None
    metrics, text = read_json(report / "metrics.json"), (tmp_path / "page").read_text()
    assert text == (report / "report.html").read_text()
    for part in ("base and round 3", "Strict accuracy by task", f"{metrics['strict']:.3f}", "jpeg.compressibility"):
        assert part in text
    assert metrics["alarms"][0]["message"] in html.unescape(text)


def test_kubeflow_compares_runs_by_accuracy_reward_and_accuracy_by_task(
    evaluate: Callable[..., Path], tmp_path: Path
) -> None:
    report = evaluate("base", metrics_out=tmp_path / "metrics")
    metrics, compared = read_json(report / "metrics.json"), read_json(tmp_path / "metrics")
    assert (compared["strict"], compared["soft"]) == (metrics["strict"], metrics["soft"])
    assert {f"strict {task}": value for task, value in metrics["tasks"].items()}.items() <= compared.items()
    assert len(compared) == 2 + len(metrics["tasks"]) > 3
