"""The rollout policy as a moving average of the trained policy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def move_toward(rollout: Sequence[Tensor], policy: Sequence[Tensor], decay: float) -> None:
    """`theta_roll <- eta theta_roll + (1 - eta) theta`, in place; eta = 0 copies bit for bit, eta = 1 does nothing.

    Args:
        rollout: tensors of the rollout policy, changed.
        policy: tensors of the trained policy, in the same order and shapes.
        decay: eta in [0, 1].
    """
    for average, value in zip(rollout, policy, strict=True):
        average.lerp_(value.to(average.dtype), 1 - decay)
