"""From clean latents to pictures, by the model's autoencoder."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

Latents = Float[Tensor, "batch channels height width"]


def decode(vae: nn.Module, latents: Latents) -> NDArray[np.uint8]:
    """RGB pictures (batch, H, W, 3) of clean latents: `latents / scaling_factor + shift_factor`, decoded."""
    config = vae.config
    shift = config.shift_factor or 0.0  # type: ignore[union-attr]
    scaled = latents / config.scaling_factor + shift  # type: ignore[union-attr, operator]
    pictures = vae.decode(scaled.to(next(vae.parameters()).dtype), return_dict=False)[0]  # type: ignore[operator]
    pictures = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(pictures.permute(0, 2, 3, 1).cpu().numpy())
