"""What an optimiser step works on, and the form of its loss: a function of a microbatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from advantageflow.settings import TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.policy import Policy

PerRollout = Float[Tensor, " rollouts"]
Visits = Int[Tensor, " visits"]
Places = Int[Tensor, " places"]
PerVisit = Float[Tensor, " visits"]

Metrics = dict[str, float]
"""Of an optimiser step, or of a round."""

MicrobatchLoss = Callable[[Places], tuple[Tensor, dict[str, Tensor]]]
"""Mean loss and metrics of the visits at these places of the step; metrics stay on the device, without gradient."""


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    Attributes:
        policy: in training.
        data: the round's, on the policy's device.
        advantages: of all rollouts of the round.
        visits: the rollouts that the step visits, on the CPU; some may be there twice.
        settings: of the training stage.
        moved: whether the policy differs from the rollout policy; else v_roll is v_theta.
        before: metrics of the round's step before this one, the same in every process; None on its first.
        generator: of all randomness, on the CPU: a step's is drawn at once, so that microbatches leave no trace.
    """

    policy: Policy
    data: RoundData
    advantages: PerRollout
    visits: Visits
    settings: TrainingSettings
    moved: bool
    before: Metrics | None
    generator: torch.Generator
