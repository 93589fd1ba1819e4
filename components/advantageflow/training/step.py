"""What an optimiser step works on, and how it is laid before an objective: a batch for each microbatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from advantageflow.objectives.batches import Metrics
from advantageflow.settings import TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.policy import Inputs, Policy

PerRollout = Float[Tensor, " rollouts"]
Samples = Int[Tensor, " samples"]
Indices = Int[Tensor, " indices"]
PerSample = Float[Tensor, " samples"]

MakeBatch = Callable[[Indices], Any]
"""The VelocityBatch or TransitionBatch of the samples of a step with these indices: it evaluates the model."""


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    Attributes:
        policy: in training.
        data: the round's, on the policy's device.
        advantages: of all rollouts of the round.
        samples: the rollouts that the step trains on, on the CPU; some may be there twice.
        settings: of the training stage.
        moved: whether the policy differs from the rollout policy; else v_roll is v_theta.
        before: metrics of the round's step before this one, the same in every process; empty on its first.
        generator: of all randomness, on the CPU: a step's is drawn at once, so that microbatches leave no trace.
        weights: of each rollout's gradient, where rollouts are drawn unevenly; None: all weigh the same.
    """

    policy: Policy
    data: RoundData
    advantages: PerRollout
    samples: Samples
    settings: TrainingSettings
    moved: bool
    before: Metrics
    generator: torch.Generator
    weights: PerRollout | None = None

    def velocity(self, inputs: Inputs, rollouts: Indices) -> Tensor:
        """v_theta of samples of these rollouts, its gradient weighted; losses are sums over samples."""
        velocity = self.policy.velocity(inputs)
        if self.weights is not None and velocity.requires_grad:
            weights = self.weights[rollouts].reshape(-1, *[1] * (velocity.ndim - 1))
            velocity.register_hook(lambda gradient: gradient * weights)
        return velocity
