"""The evaluation stage, run for real with the embedded architecture and untrained weights."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from advantageflow.errors import DataError, PolicyError, SettingsError
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.samples import read_samples
from advantageflow.evaluation.stage import run
from advantageflow.evaluation.statistics import Interval, difference, task_means
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.records import Prompt
from advantageflow.settings import EvaluationSettings, LoraSettings, ModelSettings, RewardSettings, RewardTerm
from advantageflow.shapes.prompts import all_prompts
from advantageflow.store.conditioning import write_conditioning
from advantageflow.store.files import publish, read_json, write_json
from advantageflow.store.policies import PolicyState
from advantageflow.store.prompts import write_prompts
from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.reading import read_events, run_curves

SETTINGS = EvaluationSettings(steps=2, batch=8, sample_prompts=6, threads=1)
NOISY = SETTINGS.model_copy(update={"guidance_scale": 40.0})  # follows a velocity that is far too large
TOKENS, WIDTH, POOLED = 20, 128, 128


def held_out(per_task: int) -> list[Prompt]:
    chosen: dict[str, list[Prompt]] = {}
    for prompt in all_prompts():
        if prompt.split == "eval" and len(chosen.setdefault(prompt.task, [])) < per_task:
            chosen[prompt.task].append(prompt)
    return [prompt for prompts in chosen.values() for prompt in prompts]


def write_world(folder: Path, prompts: list[Prompt]) -> None:
    generator = torch.Generator().manual_seed(1)
    embeds, pooled = (torch.randn(len(prompts), *shape, generator=generator) for shape in ((TOKENS, WIDTH), (POOLED,)))
    told = {"prompt_embeds": embeds, "pooled": pooled}
    told = {name: torch.cat([tensor, torch.zeros(1, *tensor.shape[1:])]) for name, tensor in told.items()}
    write_prompts(folder / "prompts", prompts, {})
    write_conditioning(folder / "conditioning", prompts, Conditioning(told).rows, {})
    with publish(folder / "policy") as partial:
        state = {"round": 0, "step": 0, "adapter": None, "settings": {}, "provenance": {}, "policy_sha256": None}
        write_json(partial / "state.json", state)


@pytest.fixture
def evaluate(tmp_path: Path, model: ModelSettings) -> Callable[..., Path]:
    write_world(tmp_path, [Prompt("a red star", "train", "colors"), *held_out(2)])

    def evaluate(name: str, images: int = 20, **changes: Any) -> Path:
        arguments = {
            "settings": SETTINGS, "model": model, "reward": RewardSettings(), "seed": 0, "round_index": 0,
            "images": images, "prompts": tmp_path / "prompts",
            "conditioning": tmp_path / "conditioning", "policy": tmp_path / "policy", "report_out": tmp_path / name,
        }  # fmt: skip
        run(**{**arguments, **changes})
        return tmp_path / name

    return evaluate


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
    assert "3 &lt;texts&gt; are cut" in page


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
