"""Advantage Weighted Matching: the flow matching loss as a log-likelihood in a clipped ratio.

Xue et al., "Advantage Weighted Matching: Aligning RL with Pretraining in Diffusion Models", arXiv 2509.25050.
"""

from typing import Literal

from pydantic import Field

from advantageflow.objectives.base import LossAndMetrics, Needs, VelocityObjective
from advantageflow.objectives.batches import PerSample, VelocityBatch, clipped_ratio_loss, loss_and_metrics, mean_square

HUBER_OFFSET = 1e-10  # keeps the generalised Huber's slope finite at an error of 0, as in the released code


class Awm(VelocityObjective):
    """`L = max(-A ratio, -A clip(ratio)) + beta_ema |v_theta - v_ema|^2`, `ratio = exp(l - l_old)`.

    `l = -weight(t) |v_theta - v|^2` stands in for the log-likelihood of a sample; l_old is that of v_roll. Held to the
    'rollout' policy (v_ema = v_roll), the gradient at ratio 1, on the first step of a round, is AdvantageFlow's with
    lam = beta_ema. Published are three policies: rollouts come from the trained one as it was (training.sampled:
    trained), v_ema is the 'average' that follows it (training.rollout_decay). The released code weights by t,
    and has the generalised Huber `((e + o)^p - o^p) / p`, p = .25, in the place of the squared error e, with a tiny o.
    """

    name: str = "awm"
    rollout_weight: float = Field(1.0, ge=0, description="beta_ema: of |v_theta - v_ema|^2")
    held_to: Literal["rollout", "average"] = Field(
        "rollout",
        description="what v_ema is of: the policy that generated the rollouts, or the moving average (which needs "
        "training.sampled=trained)",
    )
    clip_range: float = Field(0.2, gt=0, description="the ratio is clipped to 1 -+ this")
    huber_power: float | None = Field(None, gt=0, le=1, description="generalised Huber's power (.25 in AWM's code)")
    time_weighting: bool = Field(False, description="weight log-likelihoods by t")

    def loss(self, batch: VelocityBatch) -> LossAndMetrics:
        weight = batch.times if self.time_weighting else 1.0
        error_of_rollout = mean_square(batch.rollout - batch.target)
        log_ratio = weight * (self._cost(error_of_rollout) - self._cost(batch.error))
        advantage_loss, clipped = clipped_ratio_loss(log_ratio, batch.advantages, self.clip_range)
        if self.held_to == "rollout":
            held = batch.deviation
        else:
            assert batch.average is not None, "the needs say so"
            held = mean_square(batch.policy - batch.average)
        terms = {"advantage_loss": advantage_loss, "regulariser": self.rollout_weight * held}
        return loss_and_metrics(terms, ratio_clipped=clipped.to(log_ratio.dtype))

    @property
    def needs(self) -> Needs:
        return Needs(average=self.held_to == "average")

    @property
    def steadier(self) -> str:
        return "raise training.objective.rollout_weight"

    def _cost(self, error: PerSample) -> PerSample:
        p = self.huber_power
        return error if p is None else ((error + HUBER_OFFSET) ** p - HUBER_OFFSET**p) / p
