"""From clean latents to pictures, by the model's autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

Latents = Float[Tensor, "batch channels *space"]
Pictures = Float[Tensor, "batch 3 height width"]


def decode(vae: nn.Module, latents: Latents) -> NDArray[np.uint8]:
    """RGB pictures (batch, H, W, 3) of clean latents: `latents / scaling_factor + shift_factor`, decoded."""
    config = vae.config
    shift = config.shift_factor or 0.0  # type: ignore[union-attr]
    scaled = latents / config.scaling_factor + shift  # type: ignore[union-attr, operator]
    return to_pixels(vae.decode(scaled.to(next(vae.parameters()).dtype), return_dict=False)[0])  # type: ignore[operator]


def to_pixels(pictures: Pictures) -> NDArray[np.uint8]:
    """Pictures in [-1, 1] as (batch, H, W, 3), 8 bits a colour."""
    pixels = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def pixels_per_latent(config: Mapping[str, Any]) -> int:
    """How many pixels high and wide a latent of AutoencoderKL is: it halves at each block but its last."""
    return int(2 ** (len(config["block_out_channels"]) - 1))
