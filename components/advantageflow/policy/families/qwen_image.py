"""Qwen-Image: an MM-DiT over packed latents of one frame, told texts by a vision-language model, masked to length."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.base import ATTENTION, Configs, Family, LatentSizes, Times
from advantageflow.policy.families.parts import PATCH, Latents, Tokens, pack, to_pixels, tokenize, true_guidance, unpack

_USUAL_SIZE = 128  # of a latent: 1024 pixels
_LARGEST_SIZE = 4096  # positions that the transformer has rotary embeddings for, of patches and text together
_TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
_TEMPLATE_TOKENS = 34  # before the text: what is embedded of them is dropped


class QwenImage(Family):
    """Qwen-Image (arXiv 2508.02324); conditioned by `prompt_embeds` (tokens, width) and `mask` (tokens), true at text.

    Latents are (channels, 1 frame, height, width).
    """

    pipeline = "QwenImagePipeline"
    transformer = "QwenImageTransformer2DModel"
    autoencoder = "AutoencoderKLQwenImage"
    unconditional = " "
    lora_targets = (*ATTENTION, "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")
    blocks = ("QwenImageTransformerBlock",)
    even_sigmas = True

    def latent_sizes(self, configs: Configs) -> LatentSizes:
        vae = configs["vae"]
        pixels = 2 ** len(vae["temperal_downsample"])
        return LatentSizes((int(vae["z_dim"]), 1), _USUAL_SIZE, _LARGEST_SIZE, PATCH, pixels)

    def token_limit(self, part: str, configs: Configs, limit: int) -> int:
        return _TEMPLATE_TOKENS + limit

    def tokenize(self, part: str, tokenizer: Any, texts: Sequence[str], length: int) -> Tokens:
        told = [_TEMPLATE.format(text) for text in texts]
        return tokenize(tokenizer, part, told, length, to_longest=True, mask=True, shown=texts)

    def encode(self, part: str, encoder: Any, tokens: Tokens) -> dict[str, Tensor]:
        """The last hidden layer, from the text on; zero at padding, which comes last, where no text token sees it."""
        out = encoder(tokens["input_ids"], output_hidden_states=True)
        mask = tokens["attention_mask"][:, _TEMPLATE_TOKENS:].bool()
        tokens_of_text = out.hidden_states[-1][:, _TEMPLATE_TOKENS:]
        return {"prompt_embeds": tokens_of_text.masked_fill(~mask[..., None], 0.0), "mask": mask}

    def velocity(self, transformer: nn.Module, x_t: Latents, t: Times, conditioning: Conditioning) -> Latents:
        """The transformer itself multiplies timesteps by 1000, and rounds them to its own precision, as it learned."""
        dtype = next(transformer.parameters()).dtype
        height, width = x_t.shape[-2:]
        (velocity,) = transformer(
            hidden_states=pack(x_t.squeeze(2)).to(dtype),
            timestep=t.to(dtype),
            encoder_hidden_states=conditioning.tensors["prompt_embeds"].to(dtype),
            encoder_hidden_states_mask=conditioning.tensors["mask"],
            img_shapes=[[(1, height // PATCH, width // PATCH)]] * len(x_t),
            return_dict=False,
        )
        return unpack(velocity, height, width).unsqueeze(2).to(x_t.dtype)

    def guide(self, conditional: Latents, unconditional: Latents, scale: float) -> Latents:
        """The usual guided velocity, each of whose patches is scaled to the norm of the conditional one's."""
        guided, size = super().guide(conditional, unconditional, scale), conditional.shape[-2:]
        patches, kept = pack(guided.squeeze(2)), pack(conditional.squeeze(2))
        norms = kept.norm(dim=-1, keepdim=True) / patches.norm(dim=-1, keepdim=True)
        return unpack(patches * norms, *size).unsqueeze(2)

    def told_of_guidance(self, scale: float) -> dict[str, Any]:
        return true_guidance(self.unconditional, scale)

    def decode(self, vae: nn.Module, latents: Latents) -> NDArray[np.uint8]:
        """Mean and deviation are those of each channel."""
        config, shape = vae.config, (-1, 1, 1, 1)
        mean, deviation = (
            torch.tensor(values, device=latents.device).view(shape)
            for values in (config.latents_mean, config.latents_std)  # type: ignore[union-attr]
        )
        scaled = (latents * deviation + mean).to(next(vae.parameters()).dtype)
        return to_pixels(vae.decode(scaled, return_dict=False)[0][:, :, 0])  # type: ignore[operator]
