"""The weights of a learned reward as part of its version: other weights, other scores, another version."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_SHOWN = 12  # hex digits of a hash that go into a version


def weights_hash(*modules: nn.Module) -> str:
    """The first 12 hex digits of the SHA-256 over names, shapes and bytes of all parameters and buffers.

    Taken of what was loaded, not of files, so that one model in several formats has one hash. Buffers that are not
    saved (persistent=False) do not count.

    Args:
        modules: on any device, in any precision; their order counts.
    """
    import torch

    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_SHOWN]
