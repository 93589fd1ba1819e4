"""What rollout policy regularisation does to advantage-weighted least squares, and a lam that tunes itself.

The loss is `(A + c) |v_theta - v|^2 + (lam - c) |v_theta - v_roll|^2` of each sample, from

Kveton, Rao, Mukherjee, Singh, Lai, "AdvantageFlow: Advantage-Weighted Least Squares for RL in Flow Models",
arXiv 2605.26013, where c = 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    Velocities = Float[Tensor, "batch *element"]
    Velocity = Float[Tensor, "*element"]
    PerSample = Float[Tensor, " batch"]
    Scalar = Float[Tensor, ""]

TRUSTED = 0.1  # deviation from the rollout policy, as a share of the noise floor, that leaves the margin as it is


def convex_lam(advantages: PerSample, margin: float) -> PerSample:
    """`lam_i = max(-A_i, 0) + m`: for each sample what convexity needs, and a margin.

    The curvature A_i + lam_i is then m for a bad sample and m + A_i for a good one, so that no sample is without a
    minimum, whatever the advantages. One lam for all that is below 1 leaves samples of A < -lam without one. In the
    batch they are outweighed at first. But when groups are nearly solved, the samples that still have a large advantage
    are the few bad ones; the policy then runs away from them, further each round, and |v_theta - v|^2 grows with what
    is lost. lam = 1 is safe and slow: on good samples its curvature is up to 2. The gradient at v_theta = v_roll is the
    same for every lam.

    Where the margin is flow matching, c = m, that leaves

        A > 0:  (A + m) |v_theta - v|^2: flow matching with a weight, without v_roll, which need not be evaluated
        A < 0:  m |v_theta - v|^2 + 2 |A| (v_theta - v_roll) . (v - v_roll) + what is without v_theta

    (the dot product as a mean over elements). A good sample pulls as a spring; a bad one pushes with a force that stays
    the same however far the policy goes; and m holds the policy to a flow that generates what it generated. v_roll
    should be E[v | x_t] of its rollouts, but after rounds of pushing it is not; where the margin ties v_theta to
    v_roll, the difference stays and adds up.

    At one x_t the minimum is `v_roll + E[(A + m)(v - v_roll)] / (m + E[max(A, 0)])`. Equal groups (A = 0) restore
    v_theta = E[v | x_t]. Where good and bad samples share x_t the step stays within twice their spread, however small
    m; where only bad ones do, m bounds it. A margin in proportion to the advantages leaves the loss as it is but for a
    factor, so m is best said in standard deviations of the rewards.

    Args:
        advantages: A of each sample.
        margin: m > 0; the smaller, the longer the steps.
    """
    return (-advantages).clamp_min(0) + margin


def trusted_margin(least: float, deviation: float, error: float) -> float:
    """`m max(1, (rho / TRUSTED)^2)`, with `rho = |v_theta - v_roll|^2 / |v_theta - v|^2`: a margin for convex_lam.

    A trust region: as long as the policy's deviation from the rollout policy is small beside the noise floor, the
    margin is the least one. A policy that runs ahead within a round meets a margin that grows with the square of how
    far it is beyond TRUSTED, of which flow matching brings it back to what its rollouts show. A round's first step has
    none before it and takes the least margin: right where the policy starts as the rollout policy, but not watched
    where `rollout_decay` above 0 leaves it elsewhere.

    Args:
        least: m > 0.
        deviation, error: means over the optimiser step before.
    """
    return least * max(1.0, deviation / (TRUSTED * error)) ** 2 if error > 0 else least


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
