"""Advantages: how much better a rollout is than the others of its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

AdvantageScale = Literal["group", "global"]
Grouped = Float[Tensor, "groups group_size"]
GroupMask = Bool[Tensor, " groups"]
Scalar = Float[Tensor, ""]

EQUAL_TOLERANCE = 8.0  # rewards this many rounding errors apart are equal: noise must not become an advantage


@dataclass(frozen=True)
class Advantages:
    """Advantages of a batch of groups.

    Attributes:
        values: A in [-1, 1], of the shape of the rewards.
        equal_groups: groups whose rewards are all equal, which teach nothing (A = 0).
        clipped_share: share of rollouts whose advantage was clipped.
    """

    values: Grouped
    equal_groups: GroupMask
    clipped_share: Scalar

    @property
    def equal_share(self) -> Scalar:
        """Share of groups whose rewards are all equal."""
        return self.equal_groups.to(self.values.dtype).mean()


def group_advantages(rewards: Grouped, *, scale: AdvantageScale, clip: float) -> Advantages:
    """`A = clip((r - mean_group r) / s, -k, k) / k`, so A in [-1, 1]; unchanged when rewards are shifted or scaled.

    Before clipping A has mean zero in each group. A group whose rewards are equal up to rounding has A = 0.

    Args:
        rewards: finite rewards; float64 recommended.
        scale: s is the (population) standard deviation of each 'group', or of all rewards of the batch ('global').
        clip: k > 0, in standard deviations.
    """
    spread = rewards.amax(1) - rewards.amin(1)
    rounding = EQUAL_TOLERANCE * torch.finfo(rewards.dtype).eps * rewards.abs().amax(1)
    equal = spread <= rounding
    centred = (rewards - rewards.mean(1, keepdim=True)).masked_fill(equal[:, None], 0.0)
    deviation = rewards.std(1, correction=0, keepdim=True) if scale == "group" else rewards.std(correction=0)
    # A zero deviation only meets zero numerators; the mask keeps 0 / 0 out.
    standardised = torch.where(centred == 0, 0.0, centred / deviation)
    return Advantages(
        values=standardised.clamp(-clip, clip) / clip,
        equal_groups=equal,
        clipped_share=(standardised.abs() > clip).to(rewards.dtype).mean(),
    )
