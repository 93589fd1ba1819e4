"""Stable Diffusion 3 and 3.5: an MM-DiT over image patches, two CLIP encoders, and T5 if it is there."""

from typing import Any

import torch
from torch import Tensor, nn

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.base import ATTENTION_AND_FEED_FORWARD, Configs, Encoded, Family, LatentSizes, Times
from advantageflow.policy.families.parts import Latents, Tokens, pixels_per_latent

_TIMESTEP_SCALE = 1000  # the transformer's timestep embedding counts in thousandths
_T5 = "text_encoder_3"


class StableDiffusion3(Family):
    """Stable Diffusion 3 (arXiv 2403.03206); conditioned by `prompt_embeds` (tokens, width) and `pooled` (width)."""

    pipeline = "StableDiffusion3Pipeline"
    transformer = "SD3Transformer2DModel"
    text_encoders = ("text_encoder", "text_encoder_2", _T5)
    optional = frozenset({_T5})
    lora_targets = tuple(ATTENTION_AND_FEED_FORWARD)
    blocks = ("JointTransformerBlock",)

    def latent_sizes(self, configs: Configs) -> LatentSizes:
        config = configs["transformer"]
        patch = int(config["patch_size"])
        largest = int(config["pos_embed_max_size"]) * patch
        pixels = pixels_per_latent(configs["vae"])
        return LatentSizes((int(config["in_channels"]),), int(config["sample_size"]), largest, patch, pixels)

    def token_limit(self, part: str, configs: Configs, limit: int) -> int:
        """Of CLIP as many as it has positions for."""
        return limit if part == _T5 else int(configs[part]["max_position_embeddings"])

    def encode(self, part: str, encoder: Any, tokens: Tokens) -> dict[str, Tensor]:
        """Of CLIP the last hidden layer but one and the projection, of T5 the last layer."""
        if part == _T5:
            return {"tokens": encoder(tokens["input_ids"])[0]}
        out = encoder(tokens["input_ids"], output_hidden_states=True)
        return {"tokens": out.hidden_states[-2], "pooled": out[0]}

    def condition(self, encoded: Encoded, configs: Configs, limit: int) -> Conditioning:
        """CLIP's features side by side, padded to T5's width, then T5's tokens: zeros without a T5, as in training."""
        first, second = encoded["text_encoder"], encoded["text_encoder_2"]
        clip = torch.cat([first["tokens"], second["tokens"]], dim=-1)
        width = int(configs["transformer"]["joint_attention_dim"])
        clip = torch.nn.functional.pad(clip, (0, width - clip.shape[-1]))
        t5 = encoded[_T5]["tokens"] if _T5 in encoded else clip.new_zeros(len(clip), limit, width)
        pooled = torch.cat([first["pooled"], second["pooled"]], dim=-1)
        return Conditioning({"prompt_embeds": torch.cat([clip, t5], dim=-2), "pooled": pooled})

    def velocity(self, transformer: nn.Module, x_t: Latents, t: Times, conditioning: Conditioning) -> Latents:
        """Timesteps are float32 whatever the base: bfloat16 would merge neighbours."""
        dtype = next(transformer.parameters()).dtype  # the patch embedding's; adapters, always float32, come later
        (velocity,) = transformer(
            hidden_states=x_t.to(dtype),
            timestep=(_TIMESTEP_SCALE * t).float(),
            encoder_hidden_states=conditioning.tensors["prompt_embeds"].to(dtype),
            pooled_projections=conditioning.tensors["pooled"].to(dtype),
            return_dict=False,
        )
        return velocity.to(x_t.dtype)
