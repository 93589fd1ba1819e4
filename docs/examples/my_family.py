"""AuraFlow as a family of models: what docs/add/model.md walks through."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

from torch import Tensor, nn

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.base import ATTENTION, Configs, Family, LatentSizes, Times
from advantageflow.policy.families.parts import Latents, Tokens, pixels_per_latent, tokenize


class AuraFlow(Family):
    """AuraFlow: an MM-DiT told texts by UMT5; conditioned by `prompt_embeds` (tokens, width), zero at padding."""

    pipeline = "AuraFlowPipeline"
    transformer = "AuraFlowTransformer2DModel"
    lora_targets = (*ATTENTION, "linear_1", "linear_2", "out_projection")

    def latent_sizes(self, configs: Configs) -> LatentSizes:
        config = configs["transformer"]
        patch = int(config["patch_size"])
        return LatentSizes(
            leading=(int(config["in_channels"]),),
            usual=int(config["sample_size"]),
            largest=isqrt(int(config["pos_embed_max_size"])) * patch,  # it has that many positions, of a square
            multiple=patch,
            pixels=pixels_per_latent(configs["vae"]),
        )

    def tokenize(self, part: str, tokenizer: Any, texts: Sequence[str], length: int) -> Tokens:
        return tokenize(tokenizer, part, texts, length, mask=True)

    def encode(self, part: str, encoder: Any, tokens: Tokens) -> dict[str, Tensor]:
        mask = tokens["attention_mask"]
        seen = None if mask.is_meta else mask  # a plan counts on the meta device, where no value can be looked at
        return {"prompt_embeds": encoder(tokens["input_ids"], attention_mask=seen)[0] * mask[..., None]}

    def velocity(self, transformer: nn.Module, x_t: Latents, t: Times, conditioning: Conditioning) -> Latents:
        dtype = next(transformer.parameters()).dtype
        (velocity,) = transformer(
            x_t.to(dtype),
            encoder_hidden_states=conditioning.tensors["prompt_embeds"].to(dtype),
            timestep=t.float(),
            return_dict=False,
        )
        return velocity.to(x_t.dtype)
