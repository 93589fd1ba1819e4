"""The Advantage Weighted Matching objective: the flow matching loss as a log-likelihood in a clipped ratio.

Xue et al., "Advantage Weighted Matching: Aligning RL with Pretraining in Diffusion Models", arXiv 2509.25050.
"""

from __future__ import annotations

from advantageflow.flow.objectives.common import (
    LossAndMetrics,
    PerSample,
    VelocityBatch,
    clipped_ratio_loss,
    loss_and_metrics,
    mean_square,
    reference_penalty,
    required,
)

HUBER_OFFSET = 1e-10  # keeps the generalised Huber's slope finite at an error of 0, as in the released code


def awm_loss(
    batch: VelocityBatch,
    *,
    clip_range: float,
    rollout_weight: float,
    huber_power: float | None = None,
    time_weighting: bool = False,
    reference_weight: float = 0.0,
) -> LossAndMetrics:
    """`L = max(-A ratio, -A clip(ratio)) + beta_ema |v_theta - v_roll|^2`, `ratio = exp(l - l_old)`.

    `l = -weight(t) |v_theta - v|^2` stands in for the log-likelihood of a sample; l_old is that of v_roll. At ratio 1,
    on the first step of a round, the gradient is AdvantageFlow's with lam = beta_ema.

    Args:
        batch: velocities and advantages; `times` only for time weighting.
        clip_range: the ratio is clipped to 1 -+ this.
        rollout_weight: beta_ema, at least 0.
        huber_power: p in (0, 1] puts the generalised Huber `((e + o)^p - o^p) / p` in the place of the squared error
            e, with a tiny o; the released code has p = .25. None is e itself.
        time_weighting: weight(t) = t, as in the released code; else 1, which the paper found best.
        reference_weight: of |v_theta - v_ref|^2, which is added to L.

    Returns:
        The loss and, detached, means over the batch: 'loss', its parts 'advantage_loss', 'regulariser' and 'reference'
        (weights included), 'error' |v_theta - v|^2, 'deviation' |v_theta - v_roll|^2 and 'ratio_clipped', the share of
        samples whose ratio left the clip range.

    Raises:
        ValueError: a tensor that is needed is missing.
    """
    rollout = required(batch.rollout, "rollout")
    weight = required(batch.times, "times") if time_weighting else 1.0
    error = mean_square(batch.policy - batch.target)
    deviation = mean_square(batch.policy - rollout)
    log_ratio = weight * (_cost(mean_square(rollout - batch.target), huber_power) - _cost(error, huber_power))
    advantage_loss, clipped = clipped_ratio_loss(log_ratio, batch.advantages, clip_range)
    terms = {"advantage_loss": advantage_loss, "regulariser": rollout_weight * deviation}
    measures = {"error": error, "deviation": deviation, "ratio_clipped": clipped.to(error.dtype)}
    return loss_and_metrics(terms | reference_penalty(batch, reference_weight), measures)


def _cost(error: PerSample, huber_power: float | None) -> PerSample:
    if huber_power is None:
        return error
    return ((error + HUBER_OFFSET) ** huber_power - HUBER_OFFSET**huber_power) / huber_power
