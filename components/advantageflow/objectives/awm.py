"""Advantage Weighted Matching: the flow matching loss as a log-likelihood in a clipped ratio.

Xue et al., "Advantage Weighted Matching: Aligning RL with Pretraining in Diffusion Models", arXiv 2509.25050.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from advantageflow.objectives.base import VelocityObjective
from advantageflow.objectives.batches import clipped_ratio_loss, loss_and_metrics, mean_square

if TYPE_CHECKING:
    from advantageflow.objectives.base import LossAndMetrics
    from advantageflow.objectives.batches import PerSample, VelocityBatch

HUBER_OFFSET = 1e-10  # keeps the generalised Huber's slope finite at an error of 0, as in the released code


class Awm(VelocityObjective):
    """`L = max(-A ratio, -A clip(ratio)) + beta_ema |v_theta - v_roll|^2`, `ratio = exp(l - l_old)`.

    `l = -weight(t) |v_theta - v|^2` stands in for the log-likelihood of a sample; l_old is that of v_roll. At ratio 1,
    on the first step of a round, the gradient is AdvantageFlow's with lam = beta_ema. The released code weights by t,
    and has the generalised Huber `((e + o)^p - o^p) / p`, p = .25, in the place of the squared error e, with a tiny o.
    """

    name: str = "awm"
    rollout_weight: float = Field(1.0, ge=0, description="beta_ema: of |v_theta - v_roll|^2")
    clip_range: float = Field(0.2, gt=0, description="the ratio is clipped to 1 -+ this")
    huber_power: float | None = Field(None, gt=0, le=1, description="generalised Huber's power (.25 in AWM's code)")
    time_weighting: bool = Field(False, description="weight log-likelihoods by t")

    def loss(self, batch: VelocityBatch) -> LossAndMetrics:
        weight = batch.times if self.time_weighting else 1.0
        error_of_rollout = mean_square(batch.rollout - batch.target)
        log_ratio = weight * (self._cost(error_of_rollout) - self._cost(batch.error))
        advantage_loss, clipped = clipped_ratio_loss(log_ratio, batch.advantages, self.clip_range)
        terms = {"advantage_loss": advantage_loss, "regulariser": self.rollout_weight * batch.deviation}
        return loss_and_metrics(terms, ratio_clipped=clipped.to(log_ratio.dtype))

    @property
    def steadier(self) -> str:
        return "raise training.objective.rollout_weight"

    def _cost(self, error: PerSample) -> PerSample:
        p = self.huber_power
        return error if p is None else ((error + HUBER_OFFSET) ** p - HUBER_OFFSET**p) / p
