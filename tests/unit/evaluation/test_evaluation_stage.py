"""The evaluation stage, run for real with the embedded architecture and untrained weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from evaluated import write_world

from advantageflow.errors import DataError, PolicyError, SettingsError
from advantageflow.evaluation.labels import result_table
from advantageflow.evaluation.pictures import read_samples
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import Interval, difference, task_means
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.records import Prompt
from advantageflow.settings import LoraSettings, ModelSettings, RewardSettings, RewardTerm
from advantageflow.store.files import publish, read_json, write_json
from advantageflow.store.policies import PolicyState
from advantageflow.tracking.events import read_events, run_curves
from advantageflow.tracking.journal import stage_journal


def test_a_report_holds_the_numbers_of_its_images(evaluate: Callable[..., Path]) -> None:
    report = evaluate("report")
    metrics, outcomes = read_json(report / "metrics.json"), read_outcomes(report)
    assert (metrics["round"], metrics["images"], metrics["prompts"], metrics["policy_sha256"]) == (0, 20, 12, None)
    assert len(outcomes) == 20
    assert metrics["strict"] == task_means(outcomes, "strict").overall.mean
    assert metrics["soft"] == task_means(outcomes, "soft").overall.mean
    assert metrics["soft"] == pytest.approx(sum(metrics["tasks_soft"].values()) / 6)
    assert metrics["strict_ci95"][0] <= metrics["strict"] <= metrics["strict_ci95"][1]
    assert metrics["soft_ci95"][0] <= metrics["soft"] <= metrics["soft_ci95"][1]
    assert list(metrics["tasks"]) == ["color_attr", "colors", "counting", "position", "single_object", "two_object"]
    assert (metrics["strict_column"], metrics["soft_column"]) == ("strict", "soft")
    names = pq.read_schema(report / "evaluation.parquet").names
    assert names == ["prompt_id", "task", "repetition", "seed", "strict", "soft", "shapes.soft"]


def test_samples_show_one_prompt_of_each_task(evaluate: Callable[..., Path]) -> None:
    samples = read_samples(evaluate("report"))
    assert len({sample.task for sample, _ in samples}) == 6
    assert all(sample.correct in (True, False) for sample, _ in samples)
    assert all(picture.size == (192, 192) for _, picture in samples)


def test_evaluating_again_gives_equal_bytes_and_compares_as_no_change(evaluate: Callable[..., Path]) -> None:
    first, second = evaluate("first"), evaluate("second")
    for name in ("metrics.json", "evaluation.parquet", "samples.png", "samples/00.png"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert difference(read_outcomes(first), read_outcomes(second), "soft").overall == Interval(0.0, 0.0, 0.0)


def test_a_smaller_evaluation_makes_the_first_images_of_a_larger_one(evaluate: Callable[..., Path]) -> None:
    assert read_outcomes(evaluate("small", 8)) == read_outcomes(evaluate("large", 16))[:8]


def test_the_policy_adapter_is_what_is_judged(
    evaluate: Callable[..., Path], model: ModelSettings, tmp_path: Path
) -> None:
    from advantageflow.policy.adapters import attach_adapters
    from advantageflow.policy.loading import load_transformer

    transformer = load_transformer(model)
    adapters = attach_adapters(transformer, tmp_path / "policy", LoraSettings(rank=2), 0, StableDiffusion3())
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    with publish(tmp_path / "tuned") as partial:
        adapters.save(partial, PolicyState(round=3, step=12, policy_sha256=None), model)
    base, tuned = evaluate("base"), evaluate("report", policy=tmp_path / "tuned", round_index=3)
    assert read_json(tuned / "metrics.json")["policy_sha256"] == adapters.sha256()
    assert (base / "samples/00.png").read_bytes() != (tuned / "samples/00.png").read_bytes()
    difference(read_outcomes(base), read_outcomes(tuned), "soft")  # raises if they were not the same prompts and seeds
    start = evaluate("start", policy=tmp_path / "tuned", beside_base=True)
    assert read_outcomes(start) == read_outcomes(tuned)
    assert read_outcomes(start / "base") == read_outcomes(base)
    assert "base and start" in (start / "report.html").read_text()
    assert not (evaluate("again", beside_base=True) / "base").exists(), "it is the base itself"


def test_images_that_a_reward_cannot_score_are_left_out_of_all_means(
    evaluate: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from advantageflow.rewards.shapes import ShapesReward

    whole, score = evaluate("whole"), ShapesReward.score
    told = whole.parent / "prompts" / "metadata.json"
    write_json(told, read_json(told) | {"warnings": ["3 <texts> are cut"]})
    broken = [read_outcomes(whole)[number].prompt_id for number in (0, 3)]

    def fails(self: ShapesReward, prompts: Any, images: Any) -> Any:
        if any(prompt.prompt_id in broken for prompt in prompts):
            raise RuntimeError("cannot be judged")
        return score(self, prompts, images)

    monkeypatch.setattr(ShapesReward, "score", fails)
    report = evaluate("report", reward=RewardSettings(on_error="drop", most_dropped=0.5), base=whole)
    metrics, outcomes = read_json(report / "metrics.json"), read_outcomes(report)
    judged = [one for one in read_outcomes(whole) if one.prompt_id not in broken]
    assert (len(outcomes), metrics["images"], metrics["dropped_images"]) == (20, 20, 20 - len(judged))
    assert metrics["soft"] == task_means(judged, "soft").overall.mean
    assert difference(read_outcomes(whole), outcomes, "soft").overall == Interval(0.0, 0.0, 0.0)
    assert {"not scored"} < {sample.verdict for sample, _ in read_samples(report)}
    page = (report / "report.html").read_text()
    assert "not scored" in page
    left_out = f"20 held-out images, {20 - len(judged)} of them not scored"
    assert "3 &lt;texts&gt; are cut" in page
    assert left_out in page
    assert "No alarm." not in page
    assert left_out in result_table(metrics)


def test_a_reward_without_a_strict_column_reports_its_training_column_and_says_so(
    evaluate: Callable[..., Path],
) -> None:
    from advantageflow.rewards.plumbing.registry import get_reward

    column = next(iter(get_reward("jpeg").columns))
    report = evaluate("report", reward=RewardSettings(name="jpeg", column=column))
    metrics = read_json(report / "metrics.json")
    assert metrics["strict"] == metrics["soft"]
    assert (metrics["strict_column"], metrics["soft_column"]) == (column, column)
    assert [sample.correct for sample, _ in read_samples(report)] == [None] * 6


def test_a_report_is_headed_by_the_column_that_the_reward_names(
    evaluate: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from advantageflow.rewards.shapes import ShapesReward

    monkeypatch.setattr(ShapesReward, "headline", "soft", raising=False)
    report = evaluate("report")
    metrics = read_json(report / "metrics.json")
    assert (metrics["strict_column"], metrics["soft_column"]) == ("soft", "soft")
    assert metrics["strict"] == metrics["soft"] == task_means(read_outcomes(report), "strict").overall.mean
    assert [sample.correct for sample, _ in read_samples(report)] == [None] * 6  # a graded column is no right or wrong


def test_with_one_term_it_is_reported_beside_strict_and_soft(evaluate: Callable[..., Path]) -> None:
    metrics = read_json(evaluate("report") / "metrics.json")
    assert metrics["terms"] == {
        "shapes.soft": {
            "mean": metrics["soft"], "ci95": metrics["soft_ci95"], "reward": "shapes", "column": "soft",
            "higher_is_better": True,
        }
    }  # fmt: skip


def test_every_term_has_its_mean_and_interval_and_every_image_its_value(
    evaluate: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = (
        RewardTerm(name="jpeg", column="compressibility"),
        RewardTerm(name="layout", column="beauty", minimum=0.2),
    )
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    with stage_journal("evaluation", 2):
        report = evaluate("report", reward=RewardSettings(others=others), round_index=2)
    alone = evaluate("alone")
    metrics, outcomes = read_json(report / "metrics.json"), read_outcomes(report)
    same = {key: value for key, value in metrics.items() if key not in ("round", "terms", "reward_versions")}
    assert same.items() <= read_json(alone / "metrics.json").items()  # what is said of the first reward stays
    assert list(metrics["terms"]) == ["shapes.soft", "jpeg.compressibility", "layout.beauty"]
    assert list(metrics["reward_versions"]) == ["shapes", "jpeg", "layout"]
    for name, term in metrics["terms"].items():
        assert term["mean"] == task_means(outcomes, name).overall.mean
        assert term["ci95"][0] <= term["mean"] <= term["ci95"][1]
    assert metrics["terms"]["jpeg.compressibility"]["mean"] < 0
    values = [outcome.terms["layout.beauty"] for outcome in outcomes]
    assert metrics["terms"]["layout.beauty"]["acceptable"] == sum(value >= 0.2 for value in values) / 20
    curves = run_curves(read_events(tmp_path / "journal"))
    for name in ("jpeg.compressibility", "layout.beauty"):
        assert curves[f"evaluation/{name}"] == {2: metrics["terms"][name]["mean"]}
    assert "evaluation/shapes.soft" not in curves, "which is evaluation/soft"


def test_no_held_out_prompts_is_a_clear_error(evaluate: Callable[..., Path], tmp_path: Path) -> None:
    write_world(tmp_path / "other", [Prompt("a red star", "train", "colors")])
    with pytest.raises(DataError, match=r"no held-out prompts[\s\S]*split 'eval'"):
        evaluate("report", prompts=tmp_path / "other" / "prompts", conditioning=tmp_path / "other" / "conditioning")


def test_an_unknown_column_or_policy_is_a_clear_error_and_writes_nothing(
    evaluate: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="no column 'sotf'"):
        evaluate("report", reward=RewardSettings(column="sotf"))
    with pytest.raises(PolicyError, match="not a policy"):
        evaluate("report", policy=tmp_path / "nowhere")
    assert not (tmp_path / "report").exists()
