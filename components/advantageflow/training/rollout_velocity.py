"""The saving of v_roll: it is evaluated on the samples whose loss contains it, and on a few others to watch it.

The policy's deviation from the rollout policy is a measure of all samples. Where the loss needs v_roll on some of them
alone, each WATCHED-th of the others is evaluated too, and stands for all of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from advantageflow.objectives.base import WATCHED
from advantageflow.training.policy import Inputs, Policy

if TYPE_CHECKING:
    from advantageflow.objectives.batches import Velocities

PerSample = Float[Tensor, " samples"]

BAD = -1e-8  # an advantage below it is bad; between it and 0 it is rounding


@dataclass(frozen=True)
class RolloutVelocity:
    """v_roll of a batch.

    Attributes:
        rows: the samples that it was evaluated on; None: all.
        velocities: of these.
        stand_for: how many samples each of the batch stands for in a mean; None: each for itself.
    """

    rows: Tensor | None
    velocities: Velocities
    stand_for: PerSample | None

    def over(self, velocity: Velocities) -> Velocities:
        """v_roll of all samples of the batch, v_theta where it was not evaluated."""
        if self.rows is None:
            return self.velocities
        return velocity.detach().index_copy(0, self.rows, self.velocities.to(velocity.dtype))


def evaluated_samples(needed: Literal["all", "bad", "none"], advantages: PerSample) -> PerSample:
    """On which samples of an optimiser step v_roll is evaluated: how many each stands for in a mean, 0 for not at all.

    Args:
        needed: on which of them the loss contains it.
        advantages: of the step's samples, on the CPU.
    """
    if needed == "all":
        return torch.ones_like(advantages)
    stand_for = (advantages < BAD).to(advantages.dtype) if needed == "bad" else torch.zeros_like(advantages)
    others = (stand_for == 0).nonzero().flatten()
    watched = others[::WATCHED]
    if len(watched):
        stand_for[watched] = len(others) / len(watched)
    return stand_for


def rollout_velocity(policy: Policy, inputs: Inputs, stand_for: PerSample) -> RolloutVelocity:
    """v_roll of the samples of a batch that stand for any: `stand_for` of evaluated_samples, on the CPU."""
    if (stand_for == 1).all():
        return RolloutVelocity(None, policy.rollout_velocity(inputs), None)
    device = inputs[0].device
    rows, stand_for = stand_for.nonzero().flatten().to(device), stand_for.to(device)
    x_t, times, conditioning = inputs
    some: Inputs = (x_t[rows], times[rows], conditioning.rows(rows))
    velocities = policy.rollout_velocity(some) if len(rows) else some[0]
    return RolloutVelocity(rows, velocities, stand_for)
