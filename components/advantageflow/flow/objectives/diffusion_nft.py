"""The DiffusionNFT objective: fit the good to one implicit policy, the bad to its mirror image.

Zheng et al., "DiffusionNFT: Online Diffusion Reinforcement with Forward Process", arXiv 2509.16117.
"""

from __future__ import annotations

from advantageflow.flow.objectives.common import (
    ERROR_FLOOR,
    LossAndMetrics,
    PerSample,
    Velocities,
    VelocityBatch,
    loss_and_metrics,
    mean_square,
    reference_penalty,
    required,
)


def diffusion_nft_loss(
    batch: VelocityBatch, *, beta: float, adaptive_weighting: bool = False, reference_weight: float = 0.0
) -> LossAndMetrics:
    """`L = r |v_pos - v|^2 + (1 - r) |v_neg - v|^2`, with `v_pos, v_neg = v_roll +- beta (v_theta - v_roll)`.

    `r = (1 + A) / 2` is the probability that a sample is good. Per sample and for every beta this is AdvantageFlow
    with the regularisation lam = beta - A, times beta, but for a part that does not depend on v_theta:

        L = beta (A |v_theta - v|^2 + (beta - A) |v_theta - v_roll|^2) + (1 - beta A) |v_roll - v|^2

    so its minimiser is `v_roll + E[A (v - v_roll) | x_t] / beta`.

    With adaptive weighting the squared errors are those of the predictions of x_0 (t^2 times the velocities'), each is
    divided by its own detached mean absolute error, at least 1e-5, and L by beta, as in the released code. That code
    also multiplies L, not the reference term, by the clip k of the advantages, which undoes the 1 / k in A. Here it
    does not: advantages are in [-1, 1] for every objective, and AdamW does not see a constant factor (gradient clipping
    does). The released reference weight of 1e-4 with k = 5 is therefore reference_weight = 2e-5 here.

    Args:
        batch: velocities and advantages; `times` only for adaptive weighting.
        beta: above 0; how far the implicit policies reach.
        adaptive_weighting: as above.
        reference_weight: of |v_theta - v_ref|^2, which is added to L.

    Returns:
        The loss and, detached, means over the batch: 'loss', its parts 'advantage_loss' and 'reference' (weights
        included), 'error' |v_theta - v|^2 and 'deviation' |v_theta - v_roll|^2.

    Raises:
        ValueError: a tensor that is needed is missing.
    """
    rollout = required(batch.rollout, "rollout")
    good = (1 + batch.advantages) / 2
    reach = beta * (batch.policy - rollout)
    errors = (rollout + reach - batch.target, rollout - reach - batch.target)
    if adaptive_weighting:
        times = required(batch.times, "times")
        positive, negative = (_adaptive_square(error, times) / beta for error in errors)
    else:
        positive, negative = (mean_square(error) for error in errors)
    terms = {"advantage_loss": good * positive + (1 - good) * negative}
    measures = {
        "error": mean_square(batch.policy.detach() - batch.target),
        "deviation": mean_square(batch.policy.detach() - rollout),
    }
    return loss_and_metrics(terms | reference_penalty(batch, reference_weight), measures)


def _adaptive_square(velocity_error: Velocities, times: PerSample) -> PerSample:
    """Mean squared error of x_0 = x_t - t v over its detached mean absolute error."""
    error = times[:, None] * velocity_error.flatten(1)
    return error.square().mean(1) / error.detach().abs().mean(1).clamp_min(ERROR_FLOOR)
