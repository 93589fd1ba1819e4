"""The AdvantageFlow objective: advantage-weighted least squares with rollout policy regularisation.

Kveton, Rao, Mukherjee, Singh, Lai, "AdvantageFlow: Advantage-Weighted Least Squares for RL in Flow Models",
arXiv 2605.26013.
"""

from __future__ import annotations

import torch
from torch import Tensor

from advantageflow.flow.objectives.common import (
    ERROR_FLOOR,
    LossAndMetrics,
    PerSample,
    Scalar,
    Velocities,
    Velocity,
    VelocityBatch,
    loss_and_metrics,
    mean_square,
    reference_penalty,
    required,
)

TRUSTED = 0.1  # deviation from the rollout policy, as a share of the noise floor, that leaves the margin as it is


def advantage_flow_loss(
    batch: VelocityBatch,
    *,
    lam: float | PerSample,
    data_weight: float = 0.0,
    normalise_error: bool = False,
    reference_weight: float = 0.0,
) -> LossAndMetrics:
    """`L = w ((A + c) |v_theta - v|^2 + (lam - c) |v_theta - v_roll|^2)`, with c = data_weight.

    Squares are means over elements, L is a mean over samples. The coefficient of |v_theta|^2 is w (A + lam): a sample
    is convex in v_theta exactly when lam > -A, whatever c. Its minimiser is `minimiser`; on the first step of a round
    (v_theta = v_roll) the second term has no gradient. c = 0 is the paper's objective. Where v_roll is not the mean of
    v at x_t, as after rounds of learning, c > 0 pulls v_theta back to that mean, at the price of the noise of v.

    Args:
        batch: velocities and advantages; `rollout` is only needed of samples with lam > c. Where it is of some samples
            alone, 'deviation' is estimated from these.
        lam: weight of the rollout policy regularisation, at least 0; 1 is safe for every A in [-1, 1]. 0 is the
            unstabilised objective (`advantage_weighted`), unbounded below wherever A < 0. A tensor has one for each
            sample, such as `convex_lam`, none below c (which is not checked: it would wait for the device).
        data_weight: share c of lam that is plain flow matching to the rollouts, in [0, lam].
        normalise_error: w = 1 / max(mean |v_theta - v|, 1e-5), detached, which evens out the gradients over t; else
            w = 1. The peers divide each squared error by its own mean absolute error; here the advantage term's weight
            serves both terms, because two weights would turn the convexity condition into lam w_2 > -A w_1, which no
            lam guarantees.
        reference_weight: of |v_theta - v_ref|^2, which is added to L.

    Returns:
        The loss and, detached, means over the batch: 'loss', its parts 'advantage_loss', 'regulariser' and 'reference'
        (weights included), 'error' |v_theta - v|^2 and 'deviation' |v_theta - v_roll|^2; without those whose velocity
        is not there.

    Raises:
        ValueError: data_weight is not in [0, lam], or a velocity that has a weight is missing.
    """
    each = isinstance(lam, Tensor)
    if not each and not 0 <= data_weight <= lam:
        raise ValueError(f"data_weight must lie in [0, lam = {lam}], not {data_weight}")
    difference = (batch.policy - batch.target).flatten(1)
    error = difference.square().mean(1)
    weight = 1 / difference.detach().abs().mean(1).clamp_min(ERROR_FLOOR) if normalise_error else torch.ones_like(error)
    terms = {"advantage_loss": weight * ((batch.advantages + data_weight) * error)}
    measures = {"error": error}
    if batch.rollout is not None or each or lam > data_weight:
        some, rollout = batch.rollout_samples, required(batch.rollout, "rollout")
        deviation = mean_square((batch.policy if some is None else batch.policy[some.rows]) - rollout)
        measures["deviation"] = deviation
        if some is not None:
            none = torch.zeros_like(error)
            measures["deviation"] = none.index_add(0, some.rows, some.stand_for * deviation)
            deviation = none.index_add(0, some.rows, deviation)
        terms["regulariser"] = weight * ((lam - data_weight) * deviation)
    return loss_and_metrics(terms | reference_penalty(batch, reference_weight), measures)


def convex_lam(advantages: PerSample, margin: float) -> PerSample:
    """`lam_i = max(-A_i, 0) + m`: for each sample what convexity needs, and a margin.

    The curvature A_i + lam_i is then m for a bad sample and m + A_i for a good one, so that no sample is without a
    minimum, whatever the advantages. One lam for all that is below 1 leaves samples of A < -lam without one. In the
    batch they are outweighed at first. But when groups are nearly solved, the samples that still have a large advantage
    are the few bad ones; the policy then runs away from them, further each round, and |v_theta - v|^2 grows with what
    is lost. lam = 1 is safe and slow: on good samples its curvature is up to 2. The gradient at v_theta = v_roll is the
    same for every lam.

    `training.lam: auto` makes the margin flow matching, data_weight c = m, which leaves

        A > 0:  (A + m) |v_theta - v|^2: flow matching with a weight, without v_roll, which need not be evaluated
        A < 0:  m |v_theta - v|^2 + 2 |A| (v_theta - v_roll) . (v - v_roll) + what is without v_theta

    (the dot product as a mean over elements). A good sample pulls as a spring; a bad one pushes with a force that stays
    the same however far the policy goes; and m holds the policy to a flow that generates what it generated. That last
    part is what keeps it over many rounds. v_roll should be E[v | x_t] of its rollouts, but after rounds of pushing it
    is not; where the margin ties v_theta to v_roll, the difference stays and adds up. E|v_roll - v|^2 shows it: from
    round to round it rises with DiffusionNFT at beta = .25 (.17 to .2 in seven rounds on the embedded model), with this
    rule it falls (to .14 in twelve), as it must where a flow grows more certain.

    At one x_t the minimum is `v_roll + E[(A + m)(v - v_roll)] / (m + E[max(A, 0)])`. Equal groups (A = 0) restore
    v_theta = E[v | x_t]. Where good and bad samples share x_t the step stays within twice their spread, however small
    m; where only bad ones do, m bounds it. A margin in proportion to the advantages leaves the loss as it is but for a
    factor, so `auto` gives m in standard deviations: 0.2, or 0.1 at a clip of two. At that clip .05 learned faster for
    four rounds on the embedded model, and within twelve the policy was lost; .25 was slower. Even with .1 one run of
    seven of twelve or sixteen rounds lost its policy, which is what `trusted_margin` is for.

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
    weighted = torch.tensordot(advantages + data_weight, targets - rollout, dims=1) / len(advantages)
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
