"""What the objectives share: the velocities that they judge, mean squares, clipped ratios, metrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Velocities = Float[Tensor, "batch *element"]
Velocity = Float[Tensor, "*element"]
PerSample = Float[Tensor, " batch"]
Rows = Int[Tensor, " rows"]
PerRow = Float[Tensor, " rows"]
Mask = Bool[Tensor, " batch"]
Scalar = Float[Tensor, ""]
LossAndMetrics = tuple[Scalar, dict[str, Scalar]]

ERROR_FLOOR = 1e-5  # smallest mean absolute error that a sample is divided by, as in the peers' adaptive weighting


@dataclass(frozen=True)
class SomeSamples:
    """Samples of a batch that something was evaluated on.

    Attributes:
        rows: which they are.
        stand_for: how many samples of the batch each counts as in a mean over all.
    """

    rows: Rows
    stand_for: PerRow


@dataclass(frozen=True)
class VelocityBatch:
    """Velocities of a batch at their points x_t; all a forward-process objective needs.

    Attributes:
        policy: v_theta, with gradient.
        target: v = eps - x_0 of the rollout x_0.
        rollout: v_roll, the velocity of the policy that generated the rollouts; without gradient. None only where the
            objective gives it no weight.
        advantages: A of each sample, in [-1, 1].
        times: t of each sample, in [0, 1]; for the objectives that weight by it.
        reference: v_ref, the velocity of the base model; without gradient. For a reference weight above 0.
        rollout_samples: the samples that `rollout` is of; None: all. The objective must give it no weight on others.
    """

    policy: Velocities
    target: Velocities
    rollout: Velocities | None
    advantages: PerSample
    times: PerSample | None = None
    reference: Velocities | None = None
    rollout_samples: SomeSamples | None = None


def required(value: Tensor | None, name: str) -> Tensor:
    """The tensor.

    Raises:
        ValueError: it is None, though a term with weight needs it.
    """
    if value is None:
        raise ValueError(f"this objective needs VelocityBatch.{name}")
    return value


def mean_square(difference: Velocities) -> PerSample:
    """Mean of the squares over the elements of each sample."""
    return difference.flatten(1).square().mean(1)


def reference_penalty(batch: VelocityBatch, weight: float) -> dict[str, PerSample]:
    """`{'reference': weight |v_theta - v_ref|^2}`, which stands for a KL to the base model; {} at weight 0."""
    if weight == 0:
        return {}
    return {"reference": weight * mean_square(batch.policy - required(batch.reference, "reference"))}


def clipped_ratio_loss(log_ratio: PerSample, advantages: PerSample, clip_range: float) -> tuple[PerSample, Mask]:
    """`max(-A ratio, -A clip(ratio, 1 - c, 1 + c))` of PPO (arXiv 1707.06347, eq. 7), and which ratios left the range.

    A sample whose ratio has left the range on the side that its advantage favours has no gradient. At ratio 1 the
    gradient is -A times that of the log-likelihood.

    Args:
        log_ratio: log-likelihood under the policy minus that under the rollout policy.
        advantages: A of each sample.
        clip_range: c > 0.
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return torch.maximum(-advantages * ratio, -advantages * clipped), (ratio.detach() - 1).abs() > clip_range


def loss_and_metrics(terms: dict[str, PerSample], measures: dict[str, PerSample]) -> LossAndMetrics:
    """The loss: the mean over samples of the sum of the terms; and, detached, means of it and of everything given.

    Args:
        terms: what the loss adds up, weights included.
        measures: what is only reported.
    """
    loss = torch.stack(list(terms.values())).sum(0).mean()
    means = {"loss": loss} | {name: value.mean() for name, value in {**terms, **measures}.items()}
    return loss, {name: value.detach() for name, value in means.items()}
