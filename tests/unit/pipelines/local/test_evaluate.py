"""`advantageflow evaluate`: variants on equal prompts and noise, with the embedded architecture untrained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from random_policy import write_policy

from advantageflow.errors import PolicyError, SettingsError, StoreError
from advantageflow.policy.conditioning import Conditioning
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import EvaluationSettings, ModelSettings, RewardSettings, RewardTerm, RunSettings
from advantageflow.shapes.architecture import build_transformer, build_vae
from advantageflow.shapes.prompts import all_prompts
from advantageflow.store.conditioning import write_conditioning
from advantageflow.store.files import read_json
from advantageflow.store.prompts import write_prompts
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.evaluate import evaluate, make_variants, parse_scales, with_start
from advantageflow_pipelines.local.policies import FoundPolicy, find_policy
from advantageflow_pipelines.local.workdir import create_workdir, make_output, unused

SAMPLING = EvaluationSettings(images=6, steps=2, batch=6, sample_prompts=3, threads=1)
WATCHING = RewardSettings(watched=(RewardTerm(name="layout", column="beauty"),))


@pytest.fixture
def judged(tmp_path: Path) -> FoundPolicy:
    torch.manual_seed(0)
    build_transformer(width=32, layers=1).save_pretrained(tmp_path / "model" / "transformer")
    build_vae().save_pretrained(tmp_path / "model" / "vae")
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    prompts = [prompt for prompt in all_prompts() if prompt.split == "eval"][::30][:6]
    embeds = torch.randn(len(prompts) + 1, 20, 128, generator=torch.Generator().manual_seed(1))
    told = Conditioning({"prompt_embeds": embeds, "pooled": embeds[:, 0]})
    model = ModelSettings(name=str(tmp_path / "model"))
    settings = RunSettings(model=model, reward=WATCHING, evaluation=SAMPLING)
    tasks = create_workdir(tmp_path / "run", settings).artifacts / "online"
    write_prompts(tasks / "prompts" / "prompts", prompts, {})
    write_conditioning(tasks / "prompts" / "conditioning", prompts, told.rows, {})
    write_policy(tasks / "training" / "new_policy", model, {})
    return find_policy(str(tmp_path / "run"))


def test_all_variants_are_judged_on_equal_images_and_written_as_page_results_and_sheet(
    judged: FoundPolicy, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    out = tmp_path / "out"
    settings = judged.settings.model_copy(update={"seed": 5})
    comparison = evaluate(judged, settings, make_variants([1.0, 4.5]), out, lambda *progress: told.append(progress))
    names = ["base", "base at guidance 4.5", "tuned", "tuned at guidance 4.5"]
    assert list(comparison["variants"]) == names
    assert [progress for progress in told if progress[1] == 6] == [(name, 6, 6) for name in names]
    assert read_json(out / "results.json") == comparison
    assert len(comparison["pairs"]) == 6
    assert list(comparison["measures"]) == ["strict", "soft", "layout.beauty"]
    assert comparison["measures"]["layout.beauty"]["watched"]
    statistics = [variant["statistics"]["velocity_norm"] for variant in comparison["variants"].values()]
    assert len({one["mean"] for one in statistics}) == 4
    assert [one.get("base") for one in statistics] == [None, None, statistics[0]["mean"], statistics[1]["mean"]]
    text = (out / "report.html").read_text()
    assert text.count("data:image/png") == 3 * 4
    for name in ("samples.png", "variants/tuned-at-guidance-4.5/evaluation.parquet"):
        assert (out / name).exists()


def test_a_policy_folder_says_what_it_was_trained_on(tmp_path: Path, judged: FoundPolicy) -> None:
    told = {"model": {"name": "elsewhere"}, "reward": {"name": "jpeg", "column": "compressibility"},
            "prompts": {"source": "mine.jsonl"}}  # fmt: skip
    write_policy(tmp_path / "other", judged.settings.model, told)
    found = find_policy(str(tmp_path / "other")).settings
    assert (found.model.name, found.reward.name, found.prompts.source) == ("elsewhere", "jpeg", "mine.jsonl")


def test_a_continued_run_is_judged_against_its_start_and_against_the_base(judged: FoundPolicy, tmp_path: Path) -> None:
    settings = judged.settings.model_copy(update={"init_policy": "elsewhere"})
    workdir = create_workdir(tmp_path / "continued", settings)
    write_base_policy(workdir.artifacts / "online" / "prompts" / "policy", {}, {})
    write_policy(workdir.artifacts / "online" / "training-3" / "new_policy", settings.model, {})
    start, tuned = with_start(find_policy(str(workdir.root)))
    assert [one.path.parent.name for one in (start, tuned)] == ["prompts", "training-3"]
    assert [one.name for one in make_variants([1.0], [start, tuned])] == ["base", "start", "tuned"]


@pytest.mark.parametrize(("option", "value"), [("--sampler", "ab3"), ("--device", "gpu")])
def test_a_choice_that_there_is_not_is_refused(
    judged: FoundPolicy, option: str, value: str, advantageflow: Callable[..., tuple[int, str, str]]
) -> None:
    status, _, err = advantageflow("evaluate", str(judged.path), option, value)
    assert (status, f"Invalid value for '{option}'" in err) == (2, True)


def test_what_is_no_trained_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no policy is there"):
        find_policy(str(tmp_path))
    write_base_policy(tmp_path / "base", {}, {})
    with pytest.raises(PolicyError, match="the base model itself"):
        find_policy(str(tmp_path / "base")).trained_state()
    create_workdir(tmp_path / "run", choose_settings(preset="tiny"))
    with pytest.raises(PolicyError, match="made no policy yet"):
        find_policy(str(tmp_path / "run"))


@pytest.mark.parametrize("text", ["", "1,x", "0.5", "2,2", "inf"])
def test_guidance_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--guidance"):
        parse_scales(text)


def test_one_scale_needs_no_name_and_several_do() -> None:
    assert parse_scales("1,4.5") == [1.0, 4.5]
    assert [variant.name for variant in make_variants([4.5])] == ["base", "tuned"]
    assert [(v.name, v.tuned, v.guidance_scale) for v in make_variants([1.0, 2.0])][3] == (
        "tuned at guidance 2", True, 2.0,
    )  # fmt: skip


def test_a_folder_with_something_in_it_is_never_written_to(tmp_path: Path) -> None:
    create_workdir(tmp_path / "run", choose_settings(preset="tiny"))
    with pytest.raises(StoreError, match="not an empty folder"):
        make_output(tmp_path / "run")
    first = tmp_path / "run" / "evaluation"
    make_output(first)
    assert unused(first) == first
    (first / "report.html").touch()
    assert unused(first) == tmp_path / "run" / "evaluation-2"
