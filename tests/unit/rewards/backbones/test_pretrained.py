"""Models that are missing or corrupt are one RewardError that names the option; devices, precisions and batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from advantageflow.errors import RewardError, SettingsError
from advantageflow.records import Prompt
from advantageflow.rewards.backbones.pretrained import find_file, read_tensors, weights_hash
from advantageflow.rewards.base import planned_version
from advantageflow.rewards.clipscore import ClipScoreReward
from advantageflow.rewards.plumbing.registry import get_reward, list_rewards

LEARNED = ("aesthetic", "clipscore", "hpsv2", "imagereward", "pickscore")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub, and nothing in its cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", LEARNED)
def test_a_model_that_cannot_be_had_is_one_clear_error(name: str) -> None:
    reward = get_reward(name)
    with pytest.raises(RewardError) as caught:
        _ = reward.version
    assert caught.value.where.startswith(f"reward '{name}', option ")
    assert "hf download" in caught.value.remedy
    assert "hf auth login" in caught.value.remedy
    assert "\n" not in caught.value.message


@pytest.mark.usefixtures("offline")
def test_nothing_is_loaded_to_list_or_check_a_reward() -> None:
    listed = {info.name: info for info in list_rewards()}
    for name in LEARNED:
        get_reward(name).check(Prompt("a cat", "train", "all"))
        assert listed[name].error == ""
        assert listed[name].version == planned_version(get_reward(name))
        assert listed[name].version.startswith("1, float32")
        assert listed[name].columns.keys() == {"score"}


def test_the_version_begins_with_what_was_planned_and_ends_with_the_weights(clip_folder: Path) -> None:
    reward = ClipScoreReward(model=str(clip_folder))
    planned, version = planned_version(reward), reward.version
    assert version.startswith(f"{planned}, weights ")
    assert len(version.removeprefix(f"{planned}, weights ")) == 12


@pytest.mark.parametrize("place", ["/no/such/folder", "./no-such-folder", "~/no-such-folder"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(place: str) -> None:
    with pytest.raises(RewardError, match=r"there is no .*no.such.folder"):
        _ = ClipScoreReward(model=place).version


def test_weights_that_are_missing_are_never_made_up(clip_folder: Path, tmp_path: Path) -> None:
    for path in clip_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RewardError, match=r"lacks visual_projection\.weight") as caught:
        _ = ClipScoreReward(model=str(tmp_path)).version
    assert caught.value.where == "reward 'clipscore', option model"


def test_weights_of_another_shape_are_named(clip_folder: Path, tmp_path: Path) -> None:
    for path in clip_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"projection_dim": 8}))
    with pytest.raises(RewardError, match=r"another shape for text_projection\.weight, visual_projection\.weight"):
        _ = ClipScoreReward(model=str(tmp_path)).version


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.json", "preprocessor_config.json"])
def test_a_file_that_is_corrupt_is_an_error_of_the_reward(clip_folder: Path, tmp_path: Path, name: str) -> None:
    for path in clip_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(b"{broken")
    with pytest.raises(RewardError, match="cannot load") as caught:
        _ = ClipScoreReward(model=str(tmp_path)).version
    assert caught.value.remedy.startswith("get its files again")


def test_a_folder_without_the_checkpoint_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"holds none of a\.safetensors, a\.pt") as caught:
        find_file(str(tmp_path), ("a.safetensors", "a.pt"), where="here")
    assert caught.value.where == "here"
    assert "a.pt" in caught.value.remedy


def test_a_checkpoint_in_the_hubs_cache_is_found_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--scorer"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "a.pt").write_bytes(b"")
    assert find_file("some/scorer", ("a.safetensors", "a.pt"), where="here").name == "a.pt"
    with pytest.raises(RewardError, match=r"none of b\.pt could be had from 'some/scorer'"):
        find_file("some/scorer", ("b.pt",), where="here")


@pytest.mark.parametrize("content", [{"a": 1}, [torch.zeros(1)], nn.Linear(2, 2)])
def test_a_pickle_of_anything_but_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(RewardError, match=r"a\.pt"):
        read_tensors(tmp_path / "a.pt", where="here")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_a_truncated_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    tensors = {"a": torch.zeros(100)}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RewardError, match="cannot read"):
        read_tensors(path, where="here")


def test_the_hash_of_weights_is_that_of_values_order_precision_and_scalars() -> None:
    def linear(seed: int) -> nn.Linear:
        torch.manual_seed(seed)
        return nn.Linear(3, 2)

    one, other = linear(0), linear(1)
    norm, counted = nn.BatchNorm1d(2), nn.BatchNorm1d(2)  # they have a scalar buffer, num_batches_tracked
    counted.num_batches_tracked += 1
    different = [[one], [other], [one, other], [other, one], [linear(0).to(torch.bfloat16)], [norm], [counted]]
    assert len({weights_hash(*modules) for modules in different}) == len(different)
    assert weights_hash(one) == weights_hash(linear(0))


@pytest.mark.parametrize(
    ("option", "value"),
    [("device", "gpu"), ("device", "cuda:1"), ("dtype", "fp16"), ("batch", 0), ("batch", 2.5), ("batch", True)],
)
def test_a_wrong_option_is_named_when_the_reward_is_made(option: str, value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        get_reward("clipscore", {option: value})
    assert caught.value.where == f"reward.options.{option}"
    assert caught.value.remedy


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error_when_weights_are_placed_and_never_a_silent_cpu_run(clip_folder: Path) -> None:
    reward = ClipScoreReward(model=str(clip_folder), device="cuda")
    with pytest.raises(RewardError, match="torch sees none") as caught:
        _ = reward.version
    assert caught.value.where == "reward 'clipscore', option device"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_scores_as_the_cpu_does(clip_folder: Path, images: list[Any], prompts: list[Any]) -> None:
    on_cpu, on_gpu = (ClipScoreReward(model=str(clip_folder), device=device) for device in ("cpu", "cuda"))
    scores = [[values["score"] for values, _ in reward.score(prompts, images)] for reward in (on_cpu, on_gpu)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


def test_a_placed_module_is_frozen_in_the_precision_asked_for() -> None:
    reward = ClipScoreReward(dtype="bfloat16")
    module = reward.place(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    assert not module.training
    assert {(value.dtype, value.requires_grad) for value in module.parameters()} == {(torch.bfloat16, False)}
    assert reward.place(nn.Linear(2, 2), dtype="float32").weight.dtype == torch.float32


def test_batches_hold_every_item_once_in_order() -> None:
    batches = list(ClipScoreReward(batch=3).batches(range(8)))
    assert [list(batch) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]
