"""The presets for Stable Diffusion 3.5: the published recipe where it can be followed, and pipelines that compile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from online_ir import compile_pipeline

from advantageflow.settings import RunSettings
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.presets import list_presets, preset_text

PRESETS = ["sd35-geneval", "sd35-multi", "sd35-ocr", "sd35-pickscore"]

PAPERS = ["paper-advantage-flow", "paper-awm", "paper-diffusion-nft", "paper-flow-grpo"]


@pytest.fixture(params=PRESETS)
def settings(request: pytest.FixtureRequest) -> RunSettings:
    return choose_settings(preset=request.param)


def test_all_are_listed_and_have_a_published_budget() -> None:
    assert [name for name in list_presets() if name.startswith("sd35")] == PRESETS
    for name in PRESETS:
        text = preset_text(name)
        budget = re.search(r"Published budget: ([\d,]+) epochs x 1,152 images", text)
        rounds = re.search(rf"plan --preset {name} --rounds (\d+)`", text)
        assert budget is not None
        assert rounds is not None
        rollout = choose_settings(preset=name).rollout
        images = int(rounds[1]) * rollout.prompts_per_round * rollout.group_size
        assert images == pytest.approx(int(budget[1].replace(",", "")) * 1152, rel=0.02)


def test_they_follow_the_published_recipe(settings: RunSettings) -> None:
    """What DiffusionNFT and Flow-GRPO have in common, and AWM where it says the same; advantages as AdvantageFlow."""
    training, rollout, model = settings.training, settings.rollout, settings.model
    assert (model.name, model.image_size) == ("stabilityai/stable-diffusion-3.5-medium", 512)
    assert (rollout.group_size, rollout.guidance_scale) == (24, 1.0)
    assert rollout.steps == (25 if settings.preset == "sd35-multi" else 10)
    assert (training.learning_rate, training.weight_decay, training.max_grad_norm) == (3e-4, 1e-4, 1.0)
    assert (training.lora.rank, training.lora.alpha, len(training.lora.targets)) == (32, 64, 8)
    assert (training.advantage_scale, training.advantage_clip) == ("centred", 1.0)
    assert settings.evaluation.steps == 40
    epochs = rollout.prompts_per_round / 48
    assert training.gradient_steps == epochs * (2 if settings.preset == "sd35-ocr" else 1)


def test_each_is_one_pipeline_that_kubeflow_takes(settings: RunSettings, tmp_path: Path) -> None:
    assert settings.rounds <= 10
    assert settings.rollout.shards <= 8
    compile_pipeline(settings, tmp_path / "pipeline.yaml")
    assert (tmp_path / "pipeline.yaml").stat().st_size < 1.5 * 2**20, "etcd's limit for a workflow"
    spec = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())
    assert len([name for name in spec["root"]["dag"]["tasks"] if name.startswith("round-")]) == settings.rounds


def test_shards_have_equal_shares(settings: RunSettings) -> None:
    assert settings.rollout.prompts_per_round % (settings.rollout.batch_groups * settings.rollout.shards) == 0


@pytest.mark.parametrize(
    ("name", "images", "updates"),
    [("advantage-flow", 1152, 1), ("diffusion-nft", 1152, 1), ("awm", 1728, 1), ("flow-grpo", 1152, 2)],
)
def test_the_published_recipes_are_whole_in_one_run_of_the_resident_pipeline(
    name: str, images: int, updates: int, tmp_path: Path
) -> None:
    settings = choose_settings(preset=f"paper-{name}")
    rollout, training = settings.rollout, settings.training
    assert (settings.pipeline, training.objective.name) == ("resident", name.replace("-", "_"))
    assert (rollout.prompts_per_round * rollout.group_size, training.gradient_steps) == (images, updates)
    assert settings.rounds >= 1000
    compile_pipeline(settings, tmp_path / "pipeline.yaml")
    tasks = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())["root"]["dag"]["tasks"]
    assert len([task for task in tasks if task.startswith("loop")]) == settings.rounds // settings.evaluation.every


@pytest.mark.parametrize("name", [*PRESETS, *PAPERS])
def test_every_value_of_a_preset_says_where_it_comes_from(name: str) -> None:
    plain = [
        line for line in preset_text(name).splitlines()
        if ":" in line and "#" not in line and not line.rstrip().endswith(":") and not line.startswith(" " * 4)
    ]  # fmt: skip
    repeated = ("pipeline:", "device: cuda", "name:", "column:", "weight:", "sampler:", "shift:")
    assert [line for line in plain if not line.strip().startswith(repeated)] == []
