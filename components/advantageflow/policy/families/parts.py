"""What families share: texts as token ids, latents as rows of patches, pictures from an autoencoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from advantageflow.tracking.journal import current_journal

PATCH = 2

Latents = Float[Tensor, "batch channels *space"]
Packed = Float[Tensor, "batch patches features"]
Pictures = Float[Tensor, "batch 3 height width"]
Tokens = dict[str, Tensor]
"""`input_ids` and, where padding must be told apart, `attention_mask`: (texts, length)."""


def tokenize(
    tokenizer: Any,
    part: str,
    texts: Sequence[str],
    length: int,
    *,
    to_longest: bool = False,
    mask: bool = False,
    shown: Sequence[str] | None = None,
) -> Tokens:
    """Token ids of all texts, padded on the right; the journal is told how many texts were cut.

    Args:
        part: of the text encoder that reads the tokens, for the warning.
        length: tokens of each.
        to_longest: pad to the longest of the texts only.
        mask: also give the attention mask.
        shown: what to call the texts in the warning, where they are in a frame.
    """
    counts = [len(ids) for ids in tokenizer(list(texts))["input_ids"]]
    cut = [text for text, count in zip(shown or texts, counts, strict=True) if count > length]
    if cut:
        shortest = min(cut, key=len)
        such = shortest if len(shortest) <= 80 else f"{shortest[:77]}..."
        whole = f"{len(cut)} of {len(texts)} texts are cut, such as '{such}'"
        current_journal().warning(f"{part} reads the first {length} tokens of a text only: {whole}")
    told = tokenizer(
        list(texts), padding="max_length", max_length=min(length, max(counts)) if to_longest else length,
        truncation=True, padding_side="right", return_tensors="pt",
    )  # fmt: skip
    return {"input_ids": told.input_ids} | ({"attention_mask": told.attention_mask} if mask else {})


def true_guidance(unconditional: str, scale: float) -> dict[str, Any]:
    """Arguments for guidance of diffusers' pipelines that call something else `guidance_scale`."""
    return {"true_cfg_scale": scale, **({"negative_prompt": unconditional} if scale > 1 else {})}


def pack(latents: Latents) -> Packed:
    """Patches of 2 x 2 latents, row after row; features are channel, then row, then column in the patch."""
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(patches: Packed, height: int, width: int) -> Latents:
    """The inverse of `pack`."""
    batch, _, features = patches.shape
    rows, columns = height // PATCH, width // PATCH
    grid = patches.reshape(batch, rows, columns, features // PATCH**2, PATCH, PATCH)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, height, width)


def decode(vae: nn.Module, latents: Latents) -> NDArray[np.uint8]:
    """RGB pictures (batch, H, W, 3) of clean latents: `latents / scaling_factor + shift_factor`, decoded."""
    config: Any = vae.config
    scaled = latents / config.scaling_factor + (config.shift_factor or 0.0)
    return to_pixels(vae.decode(scaled.to(next(vae.parameters()).dtype), return_dict=False)[0])  # type: ignore[operator]


def to_pixels(pictures: Pictures) -> NDArray[np.uint8]:
    """Pictures in [-1, 1] as (batch, H, W, 3), 8 bits a colour."""
    pixels = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def pixels_per_latent(config: Mapping[str, Any]) -> int:
    """How many pixels high and wide a latent of AutoencoderKL is: it halves at each block but its last."""
    return int(2 ** (len(config["block_out_channels"]) - 1))
