"""Stable Diffusion 3 and 3.5: an MM-DiT over image patches, two CLIP encoders, and T5 if it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
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

_TIMESTEP_SCALE = 1000  # the transformer's timestep embedding counts in thousandths


class StableDiffusion3(Family):
    """Stable Diffusion 3 (arXiv 2403.03206)."""

    pipeline = "StableDiffusion3Pipeline"
    text_encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    optional = frozenset({"text_encoder_3"})
    t5 = "text_encoder_3"
    lora_targets = tuple(ATTENTION_AND_FEED_FORWARD)

    def transformer_class(self) -> Any:
        from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

        return SD3Transformer2DModel

    def latent_channels(self, config: Mapping[str, Any]) -> int:
        return int(config["in_channels"])

    def latent_sizes(self, config: Mapping[str, Any]) -> tuple[int, int, int]:
        patch = int(config["patch_size"])
        return int(config["sample_size"]), int(config["pos_embed_max_size"]) * patch, patch

    def velocity(
        self, transformer: nn.Module, x_t: Latents, t: Times, prompt_embeds: PromptEmbeds, pooled: Pooled
    ) -> Latents:
        """Timesteps are float32 whatever the base: bfloat16 would merge neighbours."""
        dtype = next(transformer.parameters()).dtype  # the patch embedding's; adapters, always float32, come later
        (velocity,) = transformer(
            hidden_states=x_t.to(dtype),
            timestep=(_TIMESTEP_SCALE * t).float(),
            encoder_hidden_states=prompt_embeds.to(dtype),
            pooled_projections=pooled.to(dtype),
            return_dict=False,
        )
        return velocity.to(x_t.dtype)

    def encode(self, part: str, encoder: Any, tokens: Tensor) -> Encoded:
        """Of CLIP the last hidden layer but one and the projection, of T5 the last layer."""
        if part == self.t5:
            return Encoded(encoder(tokens)[0], None)
        out = encoder(tokens, output_hidden_states=True)
        return Encoded(out.hidden_states[-2], out[0])

    def join(self, encoded: Mapping[str, Encoded], config: Mapping[str, Any], t5_tokens: int) -> tuple[Tensor, Tensor]:
        """CLIP's features side by side, padded to T5's width, then T5's tokens: zeros without a T5, as in training."""
        first, second = encoded["text_encoder"], encoded["text_encoder_2"]
        clip = torch.cat([only(first.tokens), only(second.tokens)], dim=-1)
        width = int(config["joint_attention_dim"])
        clip = torch.nn.functional.pad(clip, (0, width - clip.shape[-1]))
        t5 = only(encoded[self.t5].tokens) if self.t5 in encoded else clip.new_zeros(len(clip), t5_tokens, width)
        return torch.cat([clip, t5], dim=-2), torch.cat([only(first.pooled), only(second.pooled)], dim=-1)


STABLE_DIFFUSION_3 = StableDiffusion3()
