"""The rollout policy as a moving average of the trained policy, and how much of the old one it keeps."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

DecaySchedule = Literal["nft_0", "nft_1", "nft_2"]

# (gradient steps without decay, growth a step, largest) of DiffusionNFT's types (arXiv 2509.16117, released code).
_SCHEDULES: dict[DecaySchedule, tuple[int, float, float]] = {
    "nft_0": (0, 0.0, 0.0),
    "nft_1": (0, 0.001, 0.5),
    "nft_2": (75, 0.0075, 0.999),
}


def decay_after(schedule: float | DecaySchedule, step: int) -> float:
    """eta in [0, 1], the share of the old rollout policy kept after gradient step `step`.

    'nft_0' is 0; 'nft_1' is `min(.001 i, .5)`; 'nft_2' is 0 for i < 75, then `min(.0075 (i - 75), .999)`, with i the
    gradient steps taken since the run began. A number is a constant.
    """
    if not isinstance(schedule, str):
        return schedule
    flat, growth, largest = _SCHEDULES[schedule]
    return min(growth * max(step - flat, 0), largest)


@torch.no_grad()
def move_toward(rollout: Sequence[Tensor], policy: Sequence[Tensor], decay: float) -> None:
    """`theta_roll <- eta theta_roll + (1 - eta) theta`, in place; eta = 0 copies bit for bit, eta = 1 does nothing."""
    for average, value in zip(rollout, policy, strict=True):
        average.lerp_(value.to(average.dtype), 1 - decay)
