"""The objective that the settings name, as the loss of an optimiser step."""

from __future__ import annotations

from functools import partial

from advantageflow.errors import SettingsError
from advantageflow.flow.objectives import advantage_flow_loss, awm_loss, diffusion_nft_loss
from advantageflow.settings import TrainingSettings
from advantageflow.training.forward import ForwardObjective, forward_loss
from advantageflow.training.reverse import reverse_loss
from advantageflow.training.step import MicrobatchLoss, Step

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
        SettingsError: its options contradict each other.
        DataError: it needs trajectories, and the data has none.
    """
    settings = step.settings
    if settings.algorithm == "flow_grpo":
        return reverse_loss(step, settings.flow_grpo, settings.reference_weight)
    return forward_loss(step, forward_objective(settings, step.lam))


def forward_objective(settings: TrainingSettings, lam: float) -> ForwardObjective:
    """The objective of a forward-process algorithm.

    Args:
        settings: with such an algorithm.
        lam: of advantage_flow; the others have no use for it.

    Raises:
        SettingsError: the share of plain flow matching exceeds lam.
    """
    reference = settings.reference_weight
    if settings.algorithm in ("advantage_flow", "advantage_weighted"):
        lam = lam if settings.algorithm == "advantage_flow" else 0.0
        _check_data_weight(settings.data_weight, lam)
        loss = partial(
            advantage_flow_loss,
            lam=lam,
            data_weight=settings.data_weight,
            normalise_error=settings.normalise_error,
            reference_weight=reference,
        )
        return ForwardObjective(loss, needs_rollout=lam > settings.data_weight, needs_reference=reference > 0)
    if settings.algorithm == "diffusion_nft":
        nft = partial(diffusion_nft_loss, **settings.diffusion_nft.model_dump(), reference_weight=reference)
        return ForwardObjective(nft, needs_rollout=True, needs_reference=reference > 0)
    awm = partial(awm_loss, **settings.awm.model_dump(), reference_weight=reference)
    return ForwardObjective(awm, needs_rollout=True, needs_reference=reference > 0)


def steadier(settings: TrainingSettings) -> str:
    """What to do when training diverges."""
    return _STEADIER[settings.algorithm]


def _check_data_weight(data_weight: float, lam: float) -> None:
    if data_weight > lam:
        message = f"{data_weight} is more than lam, {lam:.4g}, whose share it is"
        raise SettingsError(message, where="training.data_weight", remedy="lower it, or raise training.lam")
