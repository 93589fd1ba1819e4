"""Latents as rows of patches of 2 x 2, as transformers of several families take them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from advantageflow.policy.autoencoder import Latents

PATCH = 2

Packed = Float[Tensor, "batch patches features"]


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
