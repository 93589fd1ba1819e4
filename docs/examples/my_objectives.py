"""An objective of one's own: flow matching to the good samples alone, held to the rollout policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from advantageflow.objectives.base import Needs, VelocityObjective
from advantageflow.objectives.batches import loss_and_metrics

if TYPE_CHECKING:
    from advantageflow.objectives.base import LossAndMetrics
    from advantageflow.objectives.batches import VelocityBatch


class GoodOnly(VelocityObjective):
    """`L = max(A, 0) |v_theta - v|^2 + hold |v_theta - v_roll|^2`, convex in v_theta for every hold >= 0."""

    hold: float = Field(0.5, ge=0, description="weight of the squared distance to the rollout policy")

    @property
    def needs(self) -> Needs:
        return Needs(rollout="all" if self.hold > 0 else "none")

    def loss(self, batch: VelocityBatch) -> LossAndMetrics:
        good = batch.advantages.clamp_min(0)
        return loss_and_metrics(
            {
                "advantage_loss": good * batch.error,
                "regulariser": self.hold * batch.deviation,
            }
        )
