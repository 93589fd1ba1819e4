"""Batches of velocities made by hand, and the loss of AdvantageFlow at its plainest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from advantageflow.objectives.advantage_flow import MARGIN, AdvantageFlow
from advantageflow.objectives.batches import VelocityBatch

LossAndMetrics = tuple[Tensor, dict[str, Tensor]]


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(seed: int, *shape: int) -> Tensor:
    """Uniform in [-1, 1], float64."""
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def velocity_batch(
    policy: Tensor, target: Tensor, rollout: Tensor, advantages: Tensor, times: Tensor | None = None, **more: Any
) -> VelocityBatch:
    """At times 1/2 if none are given."""
    times = torch.full_like(advantages, 0.5) if times is None else times
    return VelocityBatch(policy, target, rollout, advantages, times, **more)


def advantage_flow_loss(batch: VelocityBatch, **options: Any) -> LossAndMetrics:
    """In the space of velocities, with lambda = c = 0 and w = 1, unless options say so."""
    plain = {"space": "velocity", "reference_weight": 0.0, "data_share": 0.0, "normalise_error": False}
    loss, metrics = AdvantageFlow(**{**plain, **options}).loss(batch)
    return loss, metrics | batch.measures()


def of_margin(margin: float) -> dict[str, float]:
    """What a batch says for `lam: auto` to have this margin."""
    return {"deviations": MARGIN / margin}
