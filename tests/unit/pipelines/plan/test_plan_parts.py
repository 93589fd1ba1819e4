"""The parts of a plan: hours, memory that does not fit, GPUs and weights by name."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub.constants
import pytest

from advantageflow.errors import SettingsError
from advantageflow.policy.configs import known_configs
from advantageflow.settings import ModelSettings, RewardSettings, StoreSettings
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.plan.estimate import find_pitfalls, needed_memory
from advantageflow_pipelines.plan.speed import GPUS, REWARDS, SAMPLING, START, TRAINING, Speed, find_gpu
from advantageflow_pipelines.plan.storage import Artifact, Sizes, artifacts
from advantageflow_pipelines.plan.weights import needed_weights

NOTHING = Artifact(0, 0)
H100 = Speed(GPUS["h100"], utilisation=0.5)
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fill(cache: Path, repository: str, *names: str) -> None:
    """Put files into the hub's cache."""
    place = cache / f"models--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text("abc")
    for name in names:
        file = place / "snapshots" / "abc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")


def shipped(name: str) -> list[str]:
    """Parts of a known model."""
    return list(known_configs(name, ModelSettings()).parts)


def test_hours_are_operations_over_the_part_of_the_peak_that_is_reached() -> None:
    hour = 989.5e12 * 3600
    assert H100.hours(hour * 0.25, hour * 0.25, 0.0, 0) == pytest.approx(1.0)
    measured = Speed(GPUS["h200"])
    assert measured.hours(hour * SAMPLING.value, hour * TRAINING.value, 0.0, 0) == pytest.approx(2.0)
    assert measured.hours(0.0, 0.0, hour * REWARDS.value, 60) == pytest.approx(1.0 + 60 * START.value / 3600)


def test_a_plan_says_which_of_its_figures_are_measured_and_which_assumed() -> None:
    text = {name: "; ".join(Speed(GPUS[name]).assumptions()) for name in ("h200", "l4")}
    assert "training reaches 12.8%, measured: NVIDIA H200" in text["h200"]
    assert "assumed of" not in text["h200"]
    assert "and assumed of NVIDIA L4" in text["l4"]
    assert "reach 50%: assumed (--utilisation)" in "; ".join(H100.assumptions())


def test_a_gpu_of_another_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError) as caught:
        find_gpu("h10")
    assert "did you mean 'h100'?" in caught.value.remedy
    assert find_gpu("H100") is GPUS["h100"]


def test_what_does_not_fit_is_said_with_the_setting_that_helps() -> None:
    settings = choose_settings(preset="sd35-geneval")
    parts = {"weights": 60 * 10**9, "activations": 20 * 10**9}
    memory = {"rollout": {"weights": 10**9}, "training": parts, "reward": {}}
    assert needed_memory(parts) > 80 * 10**9 > needed_memory({"weights": 10**9})
    (found,) = find_pitfalls(ONLINE.work(settings, 0), memory, H100, NOTHING, 0, unreadable="")
    assert found.startswith("training needs about 85.0 GB and NVIDIA H100 SXM has 80")
    assert "training.gradient_checkpointing=true" in found
    with_it = settings.model_copy(
        update={"training": settings.training.model_copy(update={"gradient_checkpointing": True})}
    )
    (found,) = find_pitfalls(ONLINE.work(with_it, 0), memory, H100, NOTHING, 0, unreadable="")
    assert found.endswith("lower training.microbatch")
    assert find_pitfalls(ONLINE.work(settings, 0), memory, None, NOTHING, 0, unreadable="") == []


def test_a_large_conditioning_unread_prompts_and_slow_rewards_are_pointed_out() -> None:
    large = Artifact(9 * 10**9, 900 * 10**9)
    found = find_pitfalls({}, {}, H100, large, 10**10, unreadable="x.txt: not there")
    assert "x.txt: not there" in found[0]
    assert "900 GB in all: set store.url, and tasks read the rows that they need, 10.0 GB" in found[1]
    assert find_pitfalls({}, {}, H100, large, 900 * 10**9, unreadable="") == [], "there is a store"
    (slow,) = find_pitfalls({}, {}, H100, NOTHING, 0, unreadable="", on_cpu=["geneval"])
    assert "geneval compute on the CPU" in slow


def test_with_a_store_tasks_get_the_conditioning_that_they_read_and_else_all_of_it() -> None:
    settings = choose_settings(preset="sd35-geneval", assignments=["rollout.shards=8"])
    sizes, work = Sizes(512, 16 * 64 * 64, 10**6, 100), ONLINE.work(settings, 5554).values()
    without = artifacts(settings, sizes, 5553, work)["conditioning"]
    assert without == Artifact(5553 * 10**6, (80 + 10 + 3) * 5553 * 10**6)
    stored = settings.model_copy(update={"store": StoreSettings(url="s3://bucket/prefix")})
    rows = 10 * 192 + 10 * 192 + 3 * 553
    found = artifacts(stored, sizes, 5553, work)
    assert found["conditioning"] == Artifact(5553 * 10**6, rows * 10**6)
    policies, adapters = "policies and optimiser states (float32)", "adapters for rollouts and evaluations (float32)"
    assert found[policies] == Artifact(2 * 10 * 2000, 9 * 2000), "the first round starts from the base model"
    assert found[adapters] == Artifact(2 * 10 * 400, (9 * 8 + 2) * 400)
    assert artifacts(settings, sizes, 5553, work)[policies].kept == 10 * 2000, "nothing is published without a store"
    latents = 10 * 192 * 24 * 4 * 16 * 64 * 64
    assert found["rollout latents (float32)"] == Artifact(latents, latents), "into training alone"
    continued = ONLINE.work(stored.model_copy(update={"init_policy": "s3://bucket/policy"}), 5554).values()
    assert artifacts(stored, sizes, 5553, continued)[policies].moved == 10 * 2000


def test_the_tasks_of_the_largest_preset_get_less_than_60_gb_in_all_with_4_or_8_shards() -> None:
    for shards in (4, 8):
        stored = ["store.url=s3://bucket/prefix", f"rollout.shards={shards}"]
        settings = choose_settings(preset="sd35-geneval", assignments=stored)
        sizes = Sizes(512, 16 * 64 * 64, 1_684_480, 18_800_000)  # those of Stable Diffusion 3.5 Medium
        found = artifacts(settings, sizes, 5553, ONLINE.work(settings, 5554).values())
        assert sum(one.moved for one in found.values()) < 60 * 10**9


def test_weights_that_nobody_has_downloaded_are_missing_with_their_licences() -> None:
    reward = RewardSettings(name="geneval", others=({"name": "clipscore", "column": "score"},))
    model, *rewards = needed_weights(ModelSettings(name=MEDIUM), shipped(MEDIUM.split("/")[1]), reward)
    assert (model.state, model.gated) == ("missing", True)
    assert "Community License" in model.licence
    names = [one.repository for one in rewards]
    assert len(names) == len(set(names)) == 2, "CLIP is needed by both, and listed once"
    assert all(one.state == "missing" and one.licence for one in rewards)


def test_the_hub_cache_is_looked_into_part_by_part(cache: Path) -> None:
    parts, reward = shipped("stable-diffusion-3.5-medium"), RewardSettings(name="clipscore")
    weights = [f"{part}/model.safetensors" for part in parts if part != "text_encoder_3"]
    fill(cache, MEDIUM, "model_index.json", *weights, "text_encoder_3/model-00001-of-00002.safetensors")
    index = cache / "models--stabilityai--stable-diffusion-3.5-medium/snapshots/abc/text_encoder_3/model.index.json"
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index.write_text(json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}))
    model, clip = needed_weights(ModelSettings(name=MEDIUM), parts, reward)
    assert (model.state, model.note, clip.state) == ("partly", "missing: text_encoder_3", "missing")
    (index.parent / shards[1]).write_text("")
    fill(cache, "openai/clip-vit-large-patch14", "config.json", "pytorch_model.bin")
    model, clip = needed_weights(ModelSettings(name=MEDIUM), parts, reward)
    assert (model.state, clip.state) == ("here", "here")


def test_a_package_that_brings_its_weights_is_looked_for() -> None:
    *_, ocr = needed_weights(ModelSettings(), shipped("stable-diffusion-3.5-medium"), RewardSettings(name="ocr"))
    assert ocr.state in ("here", "missing")
    assert ocr.state == "here" or "rapidocr" in ocr.note
