"""The objective that the settings name, as the loss of an optimiser step."""

from __future__ import annotations

from functools import partial

import torch

from advantageflow.flow.objectives import (
    VelocityBatch,
    advantage_flow_loss,
    awm_loss,
    convex_lam,
    diffusion_nft_loss,
    trusted_margin,
)
from advantageflow.flow.objectives.common import LossAndMetrics, Mask, PerSample
from advantageflow.settings import TrainingSettings
from advantageflow.training.forward import ForwardObjective, forward_loss
from advantageflow.training.reverse import reverse_loss
from advantageflow.training.step import Metrics, MicrobatchLoss, Step

LESS_STEEP = "lower training.learning_rate"
_STEADIER = {
    "advantage_flow": f"raise training.lam (1 is safe for every advantage) or {LESS_STEEP}",
    "advantage_weighted": f"nothing holds this algorithm: set training.algorithm to advantage_flow, or {LESS_STEEP}",
    "diffusion_nft": f"raise training.diffusion_nft.beta or {LESS_STEEP}",
    "awm": f"raise training.awm.rollout_weight or {LESS_STEEP}",
    "flow_grpo": f"raise training.reference_weight or {LESS_STEEP}",
}


def step_loss(step: Step) -> MicrobatchLoss:
    """The loss of `step.settings.algorithm`.

    Raises:
        DataError: it needs trajectories, and the data has none.
    """
    settings = step.settings
    if settings.algorithm == "flow_grpo":
        return reverse_loss(step, settings.flow_grpo, settings.reference_weight)
    return forward_loss(step, forward_objective(settings, step.before))


def forward_objective(settings: TrainingSettings, before: Metrics | None = None) -> ForwardObjective:
    """The objective of a forward-process algorithm, which the settings name.

    Args:
        settings: of the training stage.
        before: metrics of the round's step before, which `lam: auto` goes by; None on its first.
    """
    reference = settings.reference_weight
    if settings.algorithm in ("advantage_flow", "advantage_weighted"):
        return _advantage_flow(settings, before)
    if settings.algorithm == "diffusion_nft":
        nft = partial(diffusion_nft_loss, **settings.diffusion_nft.model_dump(), reference_weight=reference)
        return ForwardObjective(nft, needs_rollout=_all, needs_reference=reference > 0)
    awm = partial(awm_loss, **settings.awm.model_dump(), reference_weight=reference)
    return ForwardObjective(awm, needs_rollout=_all, needs_reference=reference > 0)


def steadier(settings: TrainingSettings) -> str:
    """What to do when training diverges."""
    if settings.algorithm == "advantage_flow" and settings.lam == "auto":
        return f"set training.lam to 1, which is safe for every advantage, or {LESS_STEEP}"
    return _STEADIER[settings.algorithm]


def _advantage_flow(settings: TrainingSettings, before: Metrics | None) -> ForwardObjective:
    fixed = 0.0 if settings.algorithm == "advantage_weighted" else settings.lam
    margin = _margin(settings, before) if fixed == "auto" else 0.0
    data_weight = margin if settings.data_weight is None else settings.data_weight

    def lam(advantages: PerSample) -> float | PerSample:
        return convex_lam(advantages, margin) if fixed == "auto" else fixed

    def loss(batch: VelocityBatch) -> LossAndMetrics:
        return advantage_flow_loss(
            batch,
            lam=lam(batch.advantages),
            data_weight=data_weight,
            normalise_error=settings.normalise_error,
            reference_weight=settings.reference_weight,
        )

    def held(advantages: PerSample) -> Mask:
        return torch.zeros_like(advantages) + lam(advantages) > data_weight

    return ForwardObjective(loss, needs_rollout=held, needs_reference=settings.reference_weight > 0)


def _margin(settings: TrainingSettings, before: Metrics | None) -> float:
    """Of `lam: auto`."""
    if before is None:
        return settings.least_margin
    return trusted_margin(settings.least_margin, before["deviation"], before["error"])


def _all(advantages: PerSample) -> Mask:
    return torch.ones_like(advantages, dtype=torch.bool)
