"""AdvantageFlow: advantage-weighted least squares with rollout policy regularisation.

Kveton, Rao, Mukherjee, Singh, Lai, "AdvantageFlow: Advantage-Weighted Least Squares for RL in Flow Models",
arXiv 2605.26013.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from advantageflow.flow.regularisation import convex_lam, trusted_margin
from advantageflow.objectives.base import Needs, VelocityObjective
from advantageflow.objectives.batches import error_size, loss_and_metrics

if TYPE_CHECKING:
    from advantageflow.objectives.base import LossAndMetrics
    from advantageflow.objectives.batches import PerSample, VelocityBatch

MARGIN = 0.2  # of lam: auto, in standard deviations of the rewards: curvature that each sample keeps at least


class AdvantageFlow(VelocityObjective):
    """`L = w ((A + c) |v_theta - v|^2 + (lam - c) |v_theta - v_roll|^2)`, with c = data_share lam.

    Squares are means over elements, L is a mean over samples. The coefficient of |v_theta|^2 is w (A + lam): a sample
    is convex in v_theta exactly when lam > -A, whatever c. Its minimiser is `flow.regularisation.minimiser`; on the
    first step of a round (v_theta = v_roll) the second term has no gradient. c = 0 is the paper's objective. Where
    v_roll is not the mean of v at x_t, as after rounds of learning, c > 0 pulls v_theta back to that mean, at the price
    of the noise of v.

    w = 1, or with `normalise_error` 1 / max(mean |v_theta - v|, 1e-5), detached, which evens out the gradients over t.
    The peers divide each squared error by its own mean absolute error; here the weight of the first term serves both,
    because two weights would turn the convexity condition into lam w_2 > -A w_1, which no lam guarantees.

    lam = 0 is the unstabilised objective, unbounded below wherever A < 0. `lam: auto` is for each sample what convexity
    needs, and a margin, all of it flow matching, that grows when the policy runs ahead: `convex_lam`, `trusted_margin`.
    """

    name: str = "advantage_flow"
    lam: float | Literal["auto"] = Field(
        1.0,
        description="rollout policy regularisation, at least 0; convex for every sample when >= 1; 'auto' is for each "
        "sample what convexity needs, max(-A, 0), and a margin that grows when the policy runs ahead",
    )
    data_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of lam that is plain flow matching to the rollouts, c = share lam: (A + c)|v_theta - v|^2 + "
        "(lam - c)|v_theta - v_roll|^2; where lam is 'auto', share of the margin; null: 0, and all of that margin",
    )
    normalise_error: bool = Field(True, description="divide each squared error by its detached mean absolute error")

    def loss(self, batch: VelocityBatch) -> LossAndMetrics:
        A = batch.advantages
        lam, c = self.regularisation(batch)
        w = 1 / error_size(batch.policy - batch.target) if self.normalise_error else 1.0
        return loss_and_metrics(
            {
                "advantage_loss": w * ((A + c) * batch.error),
                "regulariser": w * ((lam - c) * batch.deviation),
            }
        )

    def regularisation(self, batch: VelocityBatch) -> tuple[float | PerSample, float]:
        """lam, and c."""
        if not isinstance(self.lam, str):
            return self.lam, self._share * self.lam
        margin = MARGIN / batch.deviations
        if batch.before:
            margin = trusted_margin(margin, batch.before["deviation"], batch.before["error"])
        return convex_lam(batch.advantages, margin), self._share * margin

    @property
    def needs(self) -> Needs:
        if self._share < 1 and self.lam != 0:
            return Needs(rollout="all")
        return Needs(rollout="bad" if self.lam == "auto" else "none")

    @property
    def steadier(self) -> str:
        if self.lam == "auto":
            return "set training.objective.lam to 1, which is safe for every advantage"
        return "raise training.objective.lam (1 is safe for every advantage)"

    @property
    def _share(self) -> float:
        return float(self.lam == "auto") if self.data_share is None else self.data_share

    @field_validator("lam")
    @classmethod
    def _lam_in_range(cls, lam: float | str) -> float | str:
        if not isinstance(lam, str) and not lam >= 0:
            raise ValueError("must be at least 0, or 'auto'")
        return lam
