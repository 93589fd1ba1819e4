"""What conditions a model: tensors with a row for each prompt, which nobody but the model's family looks into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Prompts as a model is told them."""

    # by names of the family's own; all have a row for each prompt. The first is a sequence of tokens (prompts, tokens,
    # width); where its length varies it is padded, and a mask is one of the tensors.
    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def length(self) -> int:
        """Tokens of each prompt, padding included."""
        return next(iter(self.tensors.values())).shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def rows(self, rows: Tensor | Sequence[int] | slice) -> Conditioning:
        """The prompts with these numbers, in this order; one may be there several times."""
        return Conditioning({name: tensor[rows] for name, tensor in self.tensors.items()})

    def telling(self, name: str, rows: Tensor) -> Conditioning:
        """The same prompts, each with one thing more."""
        return Conditioning({**self.tensors, name: rows})

    def repeat(self, count: int) -> Conditioning:
        """A single prompt, `count` times."""
        return Conditioning({name: one.expand(count, *one.shape[1:]) for name, one in self.tensors.items()})

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditioning:
        """The same on a device, or with its floating point tensors in another precision."""
        return Conditioning(
            {
                name: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
                for name, tensor in self.tensors.items()
            }
        )


def join(parts: Sequence[Conditioning]) -> Conditioning:
    """The prompts of all parts, one part after the other."""
    return Conditioning({name: torch.cat([part.tensors[name] for part in parts]) for name in parts[0].tensors})
