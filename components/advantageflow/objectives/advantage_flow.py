"""AdvantageFlow: advantage-weighted least squares with rollout policy regularisation.

Kveton, Rao, Mukherjee, Singh, Lai, "AdvantageFlow: Advantage-Weighted Least Squares for RL in Flow Models",
arXiv 2605.26013.
"""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from advantageflow.objectives.base import LossAndMetrics, Needs, VelocityObjective
from advantageflow.objectives.batches import PerSample, VelocityBatch, error_size, loss_and_metrics

TRUSTED = 0.1  # deviation from the rollout policy, as a share of the noise floor, that leaves the margin as it is
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
    the noise of v. On the first step of a round (v_theta = v_roll) the second term has no gradient. The minimiser
    without lambda is

        v_roll + E[(A + c) (v - v_roll) | x_t] / (lam + E[A | x_t])

    lam = 0 is the unstabilised objective, unbounded below wherever A < 0. With `less_advantage` a sample's lam is
    lam - A: DiffusionNFT with a shared scale and beta = lam, times 1 / beta. `lam: auto` is for each sample what
    convexity needs, and a margin, all of it flow matching, that grows when the policy runs ahead: `convex_lam`,
    `trusted_margin`.
    """

    name: str = "advantage_flow"
    lam: float | Literal["auto"] = Field(
        1.1,
        description="rollout policy regularisation (the paper's gamma), at least 0; convex for every sample when >= 1; "
        "'auto', for space 'velocity', is for each sample what convexity needs, max(-A, 0), and a margin that grows "
        "when the policy runs ahead",
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
        terms = {"advantage_loss": w * ((A + c) * batch.error), "regulariser": w * ((lam - c) * batch.deviation)}
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
    def _convex_with_the_advantage_off(self) -> Self:
        if self.less_advantage and (isinstance(self.lam, str) or self.lam == 0):
            raise ValueError("less_advantage takes A from a number above 0: give lam one")
        return self

    @field_validator("lam")
    @classmethod
    def _lam_in_range(cls, lam: float | str) -> float | str:
        if not isinstance(lam, str) and not lam >= 0:
            raise ValueError("must be at least 0, or 'auto'")
        return lam


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
