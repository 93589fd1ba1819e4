"""AdvantageFlow: advantage-weighted least squares with rollout policy regularisation.

Kveton, Rao, Mukherjee, Singh, Lai, "AdvantageFlow: Advantage-Weighted Least Squares for RL in Flow Models",
arXiv 2605.26013.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from advantageflow.flow.regularisation import convex_lam, trusted_margin
from advantageflow.objectives.base import Needs, VelocityObjective
from advantageflow.objectives.batches import error_size, loss_and_metrics

if TYPE_CHECKING:
    from advantageflow.objectives.base import LossAndMetrics
    from advantageflow.objectives.batches import PerSample, VelocityBatch

MARGIN = 0.2  # of lam: auto, in standard deviations of the rewards: curvature that each sample keeps at least


class AdvantageFlow(VelocityObjective):
    """`L = w (A |f_theta - x_0|^2 + lam |f_theta - f_roll|^2 + lambda |f_theta - f_ref|^2)`, with `f = x_t - t v`.

    Squares are means over elements, L is a mean over samples. f predicts x_0; as `f_theta - x_0 = -t (v_theta - v)`,
    space 'x_0' is t^2 times the sum of the velocities' errors, space 'velocity' that sum itself. lam (the paper's
    gamma) holds the policy to the one that generated the rollouts, lambda = reference_weight to the base model.

    `w = 1 / max(mean |f_theta - x_0|, 1e-5)`, detached, or 1 without `normalise_error`. One scale for the three terms
    leaves each sample's minimiser where it is, and its curvature w (A + lam + lambda) above 0 exactly when lam + lambda
    > -A; DiffusionNFT's released code, which divides each branch by its own error, has neither property.

    Beyond the paper, `(A + c) |f_theta - x_0|^2 + (lam - c) |f_theta - f_roll|^2` with c = data_share lam: the same
    curvature, and a pull back to the mean of v where f_roll is not that, as after rounds of learning, at the price of
    the noise of v. The minimiser without lambda is `flow.regularisation.minimiser`; on the first step of a round
    (v_theta = v_roll) the second term has no gradient.

    lam = 0 is the unstabilised objective, unbounded below wherever A < 0. With `less_advantage` a sample's lam is
    lam - A: DiffusionNFT with a shared scale and beta = lam, times 1 / beta. `lam: auto` is for each sample what
    convexity needs, and a margin, all of it flow matching, that grows when the policy runs ahead: `convex_lam`,
    `trusted_margin`.
    """

    name: str = "advantage_flow"
    lam: float | Literal["auto"] = Field(
        1.1,
        description="rollout policy regularisation (the paper's gamma), at least 0; convex for every sample when >= 1; "
        "'auto' is for each sample what convexity needs, max(-A, 0), and a margin that grows when the policy runs "
        "ahead",
    )
    less_advantage: bool = Field(
        False, description="lam of a sample is lam - A (the paper's gamma(A)): DiffusionNFT's, with lam as its beta"
    )
    reference_weight: float = Field(
        1e-3, ge=0, description="lambda, of the term that holds the policy to the base model; 0 saves its evaluation"
    )
    space: Literal["x_0", "velocity"] = Field(
        "x_0",
        description="whose errors are squared: of the predicted x_0 (t^2 times the velocity's), or the velocity's",
    )
    normalise_error: bool = Field(True, description="divide all terms of a sample by its detached mean absolute error")
    data_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of lam that is plain flow matching to the rollouts, c = share lam: (A + c)|v_theta - v|^2 + "
        "(lam - c)|v_theta - v_roll|^2; where lam is 'auto', share of the margin; null: 0, and all of that margin",
    )

    def loss(self, batch: VelocityBatch) -> LossAndMetrics:
        A = batch.advantages
        lam, c = self.regularisation(batch)
        w = self._scale(batch)
        terms = {
            "advantage_loss": w * ((A + c) * batch.error),
            "regulariser": w * ((lam - c) * batch.deviation),
        }
        if self.reference_weight > 0:
            terms["reference"] = w * (self.reference_weight * batch.divergence)
        return loss_and_metrics(terms)

    def _scale(self, batch: VelocityBatch) -> float | PerSample:
        """w, and t^2 in the space of x_0."""
        error = batch.policy - batch.target
        if self.space == "velocity":
            return 1 / error_size(error) if self.normalise_error else 1.0
        t = batch.times
        return t**2 / error_size(t[:, None] * error.flatten(1)) if self.normalise_error else t**2

    def regularisation(self, batch: VelocityBatch) -> tuple[float | PerSample, float]:
        """lam, and c."""
        if not isinstance(self.lam, str):
            lam = self.lam - batch.advantages if self.less_advantage else self.lam
            return lam, self._share * self.lam
        margin = MARGIN / batch.deviations
        if batch.before:
            margin = trusted_margin(margin, batch.before["deviation"], batch.before["error"])
        return convex_lam(batch.advantages, margin), self._share * margin

    @property
    def needs(self) -> Needs:
        if self.less_advantage or (self._share < 1 and self.lam != 0):
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

    @model_validator(mode="after")
    def _convex_with_the_advantage_off(self) -> AdvantageFlow:
        if self.less_advantage and (isinstance(self.lam, str) or self.lam == 0):
            raise ValueError("less_advantage takes A from a number above 0: give lam one")
        return self

    @field_validator("lam")
    @classmethod
    def _lam_in_range(cls, lam: float | str) -> float | str:
        if not isinstance(lam, str) and not lam >= 0:
            raise ValueError("must be at least 0, or 'auto'")
        return lam
