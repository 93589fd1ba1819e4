"""FLUX.1: a transformer over packed latents, with embedded guidance in the distilled model, CLIP's summary and T5."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.base import ATTENTION_AND_FEED_FORWARD, Configs, Encoded, Family, LatentSizes, Times
from advantageflow.policy.families.parts import PATCH, Latents, Tokens, pack, pixels_per_latent, true_guidance, unpack
from advantageflow.settings import ModelSettings

_USUAL_SIZE = 128  # of a latent: 1024 pixels; rotary positions set no largest size
_LARGEST_SIZE = 1 << 16
_T5 = "text_encoder_2"


@dataclass(frozen=True)
class Flux(Family):
    """FLUX.1, dev or schnell; conditioned by `prompt_embeds` (tokens, width) and `pooled` (width)."""

    pipeline = "FluxPipeline"
    transformer = "FluxTransformer2DModel"
    text_encoders = ("text_encoder", _T5)
    lora_targets = tuple(ATTENTION_AND_FEED_FORWARD)
    blocks = ("FluxTransformerBlock", "FluxSingleTransformerBlock")
    even_sigmas = True

    # embedded guidance scale of a distilled model (dev), in sampling and training alike; schnell has none
    guidance: float

    @classmethod
    def of(cls, model: ModelSettings) -> Self:
        return cls(model.embedded_guidance)

    def latent_sizes(self, configs: Configs) -> LatentSizes:
        channels = int(configs["transformer"]["in_channels"]) // PATCH**2
        return LatentSizes((channels,), _USUAL_SIZE, _LARGEST_SIZE, PATCH, pixels_per_latent(configs["vae"]))

    def token_limit(self, part: str, configs: Configs, limit: int) -> int:
        """Of CLIP as many as it has positions for."""
        return limit if part == _T5 else int(configs[part]["max_position_embeddings"])

    def encode(self, part: str, encoder: Any, tokens: Tokens) -> dict[str, Tensor]:
        """Of CLIP the end-of-text summary alone, of T5 the last layer."""
        out = encoder(tokens["input_ids"], output_hidden_states=False)
        return {"tokens": out[0]} if part == _T5 else {"pooled": out.pooler_output}

    def condition(self, encoded: Encoded, configs: Configs, limit: int) -> Conditioning:
        return Conditioning({"prompt_embeds": encoded[_T5]["tokens"], "pooled": encoded["text_encoder"]["pooled"]})

    def velocity(self, transformer: nn.Module, x_t: Latents, t: Times, conditioning: Conditioning) -> Latents:
        """The transformer itself multiplies timesteps by 1000, and rounds them to its own precision, as it learned."""
        dtype = next(transformer.parameters()).dtype
        distilled = transformer.config.guidance_embeds  # type: ignore[union-attr]
        embeds = conditioning.tensors["prompt_embeds"].to(dtype)
        (velocity,) = transformer(
            hidden_states=pack(x_t).to(dtype),
            timestep=t.to(dtype),
            guidance=torch.full_like(t, self.guidance, dtype=torch.float32) if distilled else None,
            encoder_hidden_states=embeds,
            pooled_projections=conditioning.tensors["pooled"].to(dtype),
            img_ids=patch_positions(*x_t.shape[-2:]).to(x_t.device),
            txt_ids=torch.zeros(embeds.shape[1], 3, device=x_t.device),
            return_dict=False,
        )
        return unpack(velocity, *x_t.shape[-2:]).to(x_t.dtype)

    def told_of_guidance(self, scale: float) -> dict[str, Any]:
        """The pipeline's `guidance_scale` is the embedded one, which schnell ignores."""
        return {"guidance_scale": self.guidance, **true_guidance(self.unconditional, scale)}


def patch_positions(height: int, width: int) -> Float[Tensor, "patches 3"]:
    """Zero, row and column of each patch, for rotary embeddings."""
    rows, columns = torch.meshgrid(torch.arange(height // PATCH), torch.arange(width // PATCH), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).float()
