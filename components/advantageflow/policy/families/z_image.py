"""Z-Image: one stream of image patches and of as many tokens as a text has, with time counted from the noise."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.base import Configs, Family, LatentSizes, Times
from advantageflow.policy.families.parts import Latents, Tokens, pixels_per_latent, tokenize

_USUAL_SIZE = 128  # of a latent: 1024 pixels


class ZImage(Family):
    """Z-Image (arXiv 2511.22699); conditioned by `prompt_embeds` (tokens, width) and `mask` (tokens), true at text.

    A guidance scale of s here is s - 1 in diffusers' pipeline.
    """

    pipeline = "ZImagePipeline"
    transformer = "ZImageTransformer2DModel"
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
    blocks = ("ZImageTransformerBlock",)
    even_sigmas = True

    def latent_sizes(self, configs: Configs) -> LatentSizes:
        config = configs["transformer"]
        patch = int(config["all_patch_size"][0])
        largest, pixels = int(config["axes_lens"][1]) * patch, pixels_per_latent(configs["vae"])
        return LatentSizes((int(config["in_channels"]),), _USUAL_SIZE, largest, patch, pixels)

    def tokenize(self, part: str, tokenizer: Any, texts: Sequence[str], length: int) -> Tokens:
        """Each text as a user's message that an answer is to follow."""
        told = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
            )
            for text in texts
        ]
        return tokenize(tokenizer, part, told, length, to_longest=True, mask=True, shown=texts)

    def encode(self, part: str, encoder: Any, tokens: Tokens) -> dict[str, Tensor]:
        """The last hidden layer but one; zero at padding, which comes last, where no text token sees it."""
        out = encoder(tokens["input_ids"], output_hidden_states=True)
        mask = tokens["attention_mask"].bool()
        return {"prompt_embeds": out.hidden_states[-2].masked_fill(~mask[..., None], 0.0), "mask": mask}

    def velocity(self, transformer: nn.Module, x_t: Latents, t: Times, conditioning: Conditioning) -> Latents:
        """The transformer's time is 0 at the noise, and its velocity leads from there to the data."""
        dtype = next(transformer.parameters()).dtype
        embeds = conditioning.tensors["prompt_embeds"].to(dtype)
        (velocities,) = transformer(
            list(x_t.to(dtype).unsqueeze(2)),
            (1 - t).float(),
            [text[:length] for text, length in zip(embeds, _lengths(conditioning.tensors["mask"]), strict=True)],
            return_dict=False,
        )
        return -torch.stack(velocities).squeeze(2).to(x_t.dtype)

    def told_of_guidance(self, scale: float) -> dict[str, Any]:
        return {"guidance_scale": scale - 1}


def _lengths(mask: Tensor) -> list[int]:
    """Tokens of each text; all of them on the meta device, where there is nothing to count."""
    if mask.is_meta:
        return [mask.shape[1]] * len(mask)
    lengths: list[int] = mask.sum(1).tolist()
    return lengths
