"""Flow matching to the good images alone: what docs/add/objective.md walks through."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from advantageflow.objectives.base import Needs, VelocityObjective
from advantageflow.objectives.batches import VelocityBatch, loss_and_metrics


class GoodOnly(VelocityObjective):
    """`L = max(A, 0)^power |v_theta - v|^2`, a mean over samples."""

    power: float = Field(1.0, gt=0, description="above 1 the best images count for more")

    @property
    def needs(self) -> Needs:
        return Needs(rollout="none")

    def loss(self, batch: VelocityBatch) -> tuple[Tensor, dict[str, Tensor]]:
        weight = batch.advantages.clamp_min(0) ** self.power
        return loss_and_metrics({"advantage_loss": weight * batch.error})

    @property
    def steadier(self) -> str:
        return "raise training.objective.reference_weight"
