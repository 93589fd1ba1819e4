"""The velocity that a Stable Diffusion 3 transformer predicts."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

Latents = Float[Tensor, "batch channels height width"]
Times = Float[Tensor, " batch"]
PromptEmbeds = Float[Tensor, "batch tokens width"]
Pooled = Float[Tensor, "batch pooled_width"]

TIMESTEP_SCALE = 1000  # the transformer's timestep embedding counts in thousandths


def predict_velocity(
    transformer: nn.Module, x_t: Latents, t: Times, prompt_embeds: PromptEmbeds, pooled: Pooled
) -> Latents:
    """`v_theta(x_t, t, c)` in the precision of x_t, computed in that of the base weights.

    Timesteps are float32 whatever the base: bfloat16 would merge neighbours.
    """
    dtype = next(transformer.parameters()).dtype  # the patch embedding's; adapters, always float32, come later
    (velocity,) = transformer(
        hidden_states=x_t.to(dtype),
        timestep=(TIMESTEP_SCALE * t).float(),
        encoder_hidden_states=prompt_embeds.to(dtype),
        pooled_projections=pooled.to(dtype),
        return_dict=False,
    )
    return velocity.to(x_t.dtype)
