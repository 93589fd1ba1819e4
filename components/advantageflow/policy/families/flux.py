"""FLUX.1: a transformer over packed latents, with embedded guidance in the distilled model, CLIP's summary and T5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from advantageflow.policy.autoencoder import Latents
from advantageflow.policy.families.base import (
    ATTENTION_AND_FEED_FORWARD,
    Encoded,
    Family,
    Pooled,
    PromptEmbeds,
    Times,
    only,
)

_PATCH = 2
_USUAL_SIZE = 128  # of a latent: 1024 pixels; rotary positions set no largest size
_LARGEST_SIZE = 1 << 16

Packed = Float[Tensor, "batch patches features"]


@dataclass(frozen=True)
class Flux(Family):
    """FLUX.1, dev or schnell.

    Attributes:
        guidance: embedded guidance scale of a distilled model (dev), in sampling and training alike; schnell has none.
    """

    pipeline = "FluxPipeline"
    text_encoders = ("text_encoder", "text_encoder_2")
    t5 = "text_encoder_2"
    lora_targets = tuple(ATTENTION_AND_FEED_FORWARD)

    guidance: float

    def transformer_class(self) -> Any:
        from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

        return FluxTransformer2DModel

    def latent_channels(self, config: Mapping[str, Any]) -> int:
        return int(config["in_channels"]) // _PATCH**2

    def latent_sizes(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        return _USUAL_SIZE, _LARGEST_SIZE, _PATCH

    def velocity(
        self, transformer: nn.Module, x_t: Latents, t: Times, prompt_embeds: PromptEmbeds, pooled: Pooled
    ) -> Latents:
        """The transformer itself multiplies timesteps by 1000, and rounds them to its own precision, as it learned."""
        dtype = next(transformer.parameters()).dtype
        distilled = transformer.config.guidance_embeds  # type: ignore[union-attr]
        (velocity,) = transformer(
            hidden_states=pack(x_t).to(dtype),
            timestep=t.to(dtype),
            guidance=torch.full_like(t, self.guidance, dtype=torch.float32) if distilled else None,
            encoder_hidden_states=prompt_embeds.to(dtype),
            pooled_projections=pooled.to(dtype),
            img_ids=patch_positions(*x_t.shape[-2:]).to(x_t.device),
            txt_ids=torch.zeros(prompt_embeds.shape[1], 3, device=x_t.device),
            return_dict=False,
        )
        return unpack(velocity, *x_t.shape[-2:]).to(x_t.dtype)

    def encode(self, part: str, encoder: Any, tokens: Tensor) -> Encoded:
        """Of CLIP the end-of-text summary alone, of T5 the last layer."""
        out = encoder(tokens, output_hidden_states=False)
        return Encoded(out[0], None) if part == self.t5 else Encoded(None, out.pooler_output)

    def join(self, encoded: Mapping[str, Encoded], config: Mapping[str, Any], t5_tokens: int) -> tuple[Tensor, Tensor]:
        return only(encoded[self.t5].tokens), only(encoded["text_encoder"].pooled)


def pack(latents: Latents) -> Packed:
    """Patches of 2 x 2 latents, row after row; features are channel, then row, then column in the patch."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // _PATCH, _PATCH, width // _PATCH, _PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(patches: Packed, height: int, width: int) -> Latents:
    """The inverse of `pack`."""
    batch, _, features = patches.shape
    rows, columns = height // _PATCH, width // _PATCH
    grid = patches.reshape(batch, rows, columns, features // _PATCH**2, _PATCH, _PATCH)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, height, width)


def patch_positions(height: int, width: int) -> Float[Tensor, "patches 3"]:
    """Zero, row and column of each patch, for rotary embeddings."""
    rows, columns = torch.meshgrid(torch.arange(height // _PATCH), torch.arange(width // _PATCH), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).float()
