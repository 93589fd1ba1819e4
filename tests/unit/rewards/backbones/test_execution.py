"""Options of learned rewards: wrong ones are named at once, a missing GPU when one is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from advantageflow.errors import RewardError, SettingsError
from advantageflow.rewards.clipscore import ClipScoreReward
from advantageflow.rewards.plumbing.registry import get_reward


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
