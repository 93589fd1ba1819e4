"""The velocity that a transformer predicts, whichever family it is of."""

from __future__ import annotations

from torch import nn

from advantageflow.policy.autoencoder import Latents
from advantageflow.policy.families import STABLE_DIFFUSION_3, Family
from advantageflow.policy.families.base import Pooled, PromptEmbeds, Times


def predict_velocity(
    transformer: nn.Module,
    x_t: Latents,
    t: Times,
    prompt_embeds: PromptEmbeds,
    pooled: Pooled,
    family: Family = STABLE_DIFFUSION_3,
) -> Latents:
    """`v_theta(x_t, t, c)` in the precision of x_t, computed in that of the base weights; t in [0, 1]."""
    return family.velocity(transformer, x_t, t, prompt_embeds, pooled)
