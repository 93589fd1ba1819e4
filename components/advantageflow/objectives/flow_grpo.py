"""Flow-GRPO: PPO on the transitions of stochastic sampling, the reverse process.

Liu et al., "Flow-GRPO: Training Flow Matching Models via Online RL", arXiv 2505.05470.
"""

from typing import Literal

from pydantic import Field

from advantageflow.objectives.base import LossAndMetrics, TransitionObjective
from advantageflow.objectives.batches import TransitionBatch, clipped_ratio_loss, loss_and_metrics


class FlowGrpo(TransitionObjective):
    """`L = max(-A ratio, -A clip(ratio))`, `ratio = exp(log p - log p_old)`.

    log p is a mean over elements, so that the clip range does not depend on the size of the latent. The metric
    'approximate_kl' is that to the rollout policy, `(log p - log p_old)^2 / 2`.

    The KL to the base model, reference_weight's, is `|mean - mean_ref|^2 / (2 g^2 (-dt))` in the paper; the released
    code divides by 2 g^2 alone, which is less by the step's length: 1 / 4 to 1 / 112 of it at ten steps.
    """

    name: str = "flow_grpo"
    kl: Literal["paper", "released"] = Field(
        "paper", description="of the base model: the paper's, or times each step's length as in the released code"
    )
    clip_range: float = Field(1e-4, gt=0, description="PPO: the ratio is clipped to 1 -+ this; 1e-4 in the paper")

    def loss(self, batch: TransitionBatch) -> LossAndMetrics:
        log_ratio = batch.policy.log_probability(batch.following) - batch.rollout_log_probability
        advantage_loss, clipped = clipped_ratio_loss(log_ratio, batch.advantages, self.clip_range)
        terms = {"advantage_loss": advantage_loss}
        if self.kl == "released" and self.reference_weight > 0:
            terms["reference"] = self.reference_weight * batch.policy.length * batch.divergence
        return loss_and_metrics(
            terms, ratio_clipped=clipped.to(log_ratio.dtype), approximate_kl=log_ratio.detach().square() / 2
        )

    @property
    def steadier(self) -> str:
        return "raise training.objective.reference_weight"
