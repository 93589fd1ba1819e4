"""The AdvantageFlow objective: advantage-weighted least squares with rollout policy regularisation.

Kveton, Rao, Mukherjee, Singh, Lai, "AdvantageFlow: Advantage-Weighted Least Squares for RL in Flow Models",
arXiv 2605.26013.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Velocities = Float[Tensor, "batch *element"]
Velocity = Float[Tensor, "*element"]
PerSample = Float[Tensor, " batch"]
Scalar = Float[Tensor, ""]

ERROR_FLOOR = 1e-5  # smallest mean absolute error that a sample is divided by, as in the peers' adaptive weighting


@dataclass(frozen=True)
class VelocityBatch:
    """Velocities of a batch at their points x_t.

    Attributes:
        policy: v_theta, with gradient.
        target: v = eps - x_0 of the rollout x_0.
        rollout: v_roll, the velocity of the policy that generated the rollouts; without gradient.
        advantages: A of each sample, in [-1, 1].
    """

    policy: Velocities
    target: Velocities
    rollout: Velocities
    advantages: PerSample


def advantage_flow_loss(
    batch: VelocityBatch, *, lam: float, normalise_error: bool = False
) -> tuple[Scalar, dict[str, Scalar]]:
    """`L = w (A |v_theta - v|^2 + lam |v_theta - v_roll|^2)`: squares are means over elements, L a mean over samples.

    The coefficient of |v_theta|^2 is w (A + lam): a sample is convex in v_theta exactly when lam > -A. Its minimiser is
    `minimiser`; on the first step of a round (v_theta = v_roll) the second term has no gradient.

    Args:
        batch: velocities and advantages.
        lam: weight of the rollout policy regularisation, at least 0; 1 is safe for every A in [-1, 1].
        normalise_error: w = 1 / max(mean |v_theta - v|, 1e-5), detached, which evens out the gradients over t; else
            w = 1. The peers divide each squared error by its own mean absolute error; here the advantage term's weight
            serves both terms, because two weights would turn the convexity condition into lam w_2 > -A w_1, which no
            lam guarantees.

    Returns:
        The loss and, detached, means over the batch: 'loss', its parts 'advantage_loss' and 'regulariser' (which
        includes lam), 'error' |v_theta - v|^2 and 'deviation' |v_theta - v_roll|^2.
    """
    difference = (batch.policy - batch.target).flatten(1)
    error = difference.square().mean(1)
    deviation = (batch.policy - batch.rollout).flatten(1).square().mean(1)
    advantage_loss, regulariser = batch.advantages * error, lam * deviation
    if normalise_error:
        weight = 1 / difference.detach().abs().mean(1).clamp_min(ERROR_FLOOR)
        advantage_loss, regulariser = weight * advantage_loss, weight * regulariser
    loss = (advantage_loss + regulariser).mean()
    parts = {
        "loss": loss,
        "advantage_loss": advantage_loss.mean(),
        "regulariser": regulariser.mean(),
        "error": error.mean(),
        "deviation": deviation.mean(),
    }
    return loss, {name: value.detach() for name, value in parts.items()}


def minimiser(targets: Velocities, rollout: Velocity, advantages: PerSample, lam: float) -> Velocity:
    """`v* = v_roll + E[A (v - v_roll) | x_t] / (lam + E[A | x_t])`, the velocity at one x_t that minimises the loss.

    Args:
        targets: v of the samples that share x_t, equally likely.
        rollout: v_roll at x_t.
        advantages: A of each sample.
        lam: regularisation with `lam > -E[A | x_t]`; otherwise the point is not a minimum.
    """
    weighted = torch.tensordot(advantages, targets - rollout, dims=1) / len(advantages)
    return rollout + weighted / (lam + advantages.mean())


def local_target_weights(advantages: PerSample, lam: float) -> PerSample:
    """`p_lam(x_0 | c) / pi_roll(x_0 | c) = 1 + A / lam`: how the local target that is fitted reweights the rollouts.

    A density when lam >= max |A| and E[A] = 0.
    """
    return 1 + advantages / lam


def expected_reward_gain(rewards: PerSample, advantages: PerSample, lam: float) -> Scalar:
    """Expected reward of the local target above the rollout policy's: `Cov(r, A) / (lam + E[A])`.

    With E[A] = 0, as before clipping, it is Cov(r, A) / lam >= 0: the smaller lam, the bigger the step.
    """
    covariance = ((rewards - rewards.mean()) * (advantages - advantages.mean())).mean()
    return covariance / (lam + advantages.mean())
