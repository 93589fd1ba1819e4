"""DiffusionNFT: fit the good to one implicit policy, the bad to its mirror image.

Zheng et al., "DiffusionNFT: Online Diffusion Reinforcement with Forward Process", arXiv 2509.16117.
"""

from pydantic import Field

from advantageflow.objectives.base import LossAndMetrics, VelocityObjective
from advantageflow.objectives.batches import (
    PerSample,
    Velocities,
    VelocityBatch,
    error_size,
    loss_and_metrics,
    mean_square,
)


class DiffusionNft(VelocityObjective):
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
    """

    name: str = "diffusion_nft"
    beta: float = Field(1.0, gt=0, description="how far the implicit policies reach from the rollout policy")
    adaptive_weighting: bool = Field(
        True, description="divide each squared x_0 error by its detached mean absolute one"
    )

    def loss(self, batch: VelocityBatch) -> LossAndMetrics:
        good = (1 + batch.advantages) / 2
        reach = self.beta * (batch.policy - batch.rollout)
        positive, negative = (
            self._square(error, batch.times)
            for error in (batch.rollout + reach - batch.target, batch.rollout - reach - batch.target)
        )
        return loss_and_metrics({"advantage_loss": good * positive + (1 - good) * negative})

    @property
    def steadier(self) -> str:
        return "raise training.objective.beta"

    def _square(self, error: Velocities, times: PerSample) -> PerSample:
        """Mean square of a velocity's error; weighted, that of the prediction x_0 = x_t - t v."""
        if not self.adaptive_weighting:
            return mean_square(error)
        of_x_0 = times[:, None] * error.flatten(1)
        return mean_square(of_x_0) / error_size(of_x_0) / self.beta
