"""What the theory says of advantage-weighted least squares: its minimiser, its target, and the gain in reward.

The loss is `(A + c) |v_theta - v|^2 + (lam - c) |v_theta - v_roll|^2` of each sample (arXiv 2605.26013, where c = 0).
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

Velocities = Float[Tensor, "batch *element"]
Velocity = Float[Tensor, "*element"]
PerSample = Float[Tensor, " batch"]
Scalar = Float[Tensor, ""]


def minimiser(
    targets: Velocities, rollout: Velocity, advantages: PerSample, lam: float, data_weight: float = 0.0
) -> Velocity:
    """`v* = v_roll + E[(A + c) (v - v_roll) | x_t] / (lam + E[A | x_t])`, which minimises the loss at one x_t.

    Args:
        targets: v of the samples that share x_t, equally likely.
        rollout: v_roll at x_t.
        advantages: A of each sample.
        lam: regularisation with `lam > -E[A | x_t]`; otherwise the point is not a minimum.
        data_weight: c.
    """
    weighted = ((advantages + data_weight) @ (targets - rollout).flatten(1)).reshape(rollout.shape)
    return rollout + weighted / len(advantages) / (lam + advantages.mean())


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
