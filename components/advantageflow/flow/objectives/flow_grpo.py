"""The Flow-GRPO objective: PPO on the transitions of stochastic sampling, the reverse process.

Liu et al., "Flow-GRPO: Training Flow Matching Models via Online RL", arXiv 2505.05470.
"""

from __future__ import annotations

from dataclasses import dataclass

from advantageflow.flow.objectives.common import (
    LossAndMetrics,
    PerSample,
    Velocities,
    clipped_ratio_loss,
    loss_and_metrics,
    required,
)
from advantageflow.flow.sde import Transition


@dataclass(frozen=True)
class TransitionBatch:
    """Transitions of a batch, one step of a trajectory each.

    Attributes:
        policy: distribution of the next state under the policy, with gradient.
        following: the next state that the rollout policy drew.
        rollout_log_probability: log p of `following` under the rollout policy.
        advantages: A of each trajectory, in [-1, 1].
        reference: mean of the next state under the base model; without gradient. For a reference weight above 0.
    """

    policy: Transition
    following: Velocities
    rollout_log_probability: PerSample
    advantages: PerSample
    reference: Velocities | None = None


def flow_grpo_loss(batch: TransitionBatch, *, clip_range: float, reference_weight: float = 0.0) -> LossAndMetrics:
    """`L = max(-A ratio, -A clip(ratio)) + weight KL`, `ratio = exp(log p - log p_old)`.

    log p is a mean over elements, so that the clip range does not depend on the size of the latent. The KL to the base
    model is that of two Gaussians of one deviation, `|mean - mean_ref|^2 / (2 g^2 (-dt))`, as a mean over elements.

    Args:
        batch: transitions and advantages.
        clip_range: the ratio is clipped to 1 -+ this; 1e-4 in the paper.
        reference_weight: of the KL.

    Returns:
        The loss and, detached, means over the batch: 'loss', its parts 'advantage_loss' and 'reference' (weight
        included), 'ratio_clipped', the share of samples whose ratio left the clip range, and 'approximate_kl' to the
        rollout policy, `(log p - log p_old)^2 / 2`.

    Raises:
        ValueError: the reference mean is missing.
    """
    log_ratio = batch.policy.log_probability(batch.following) - batch.rollout_log_probability
    advantage_loss, clipped = clipped_ratio_loss(log_ratio, batch.advantages, clip_range)
    terms = {"advantage_loss": advantage_loss}
    if reference_weight > 0:
        reference = Transition(required(batch.reference, "reference"), batch.policy.std)
        terms["reference"] = reference_weight * batch.policy.divergence(reference)
    measures = {"ratio_clipped": clipped.to(log_ratio.dtype), "approximate_kl": log_ratio.detach().square() / 2}
    return loss_and_metrics(terms, measures)
