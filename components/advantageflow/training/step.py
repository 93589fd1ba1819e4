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
from advantageflow.training.policy import Policy

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
    """

    policy: Policy
    data: RoundData
    advantages: PerRollout
    samples: Samples
    settings: TrainingSettings
    moved: bool
    before: Metrics
    generator: torch.Generator

    @property
    def needs_reference(self) -> bool:
        """Whether the base model has to be evaluated."""
        return self.settings.objective.reference_weight > 0 or self.settings.objective.needs.reference
