"""Where and how a learned reward computes: device, precision, images at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import Field

from advantageflow.errors import RewardError

if TYPE_CHECKING:
    from torch import nn

Device = Literal["cpu", "cuda"]
Dtype = Literal["float32", "bfloat16", "float16"]
Batch = Annotated[int, Field(ge=1, strict=True)]
Item = TypeVar("Item")
Module = TypeVar("Module", bound="nn.Module")


@dataclass(frozen=True)
class Execution:
    """The options that all learned rewards have.

    Whether a GPU is there is asked only when one is needed: settings are checked on machines that have none.

    Attributes:
        reward: name of the reward, for errors.
        device: 'cpu', or 'cuda' for the first visible GPU.
        dtype: precision of the model; the arithmetic on its outputs is always float32.
        batch: images that go through the model at once.
    """

    reward: str
    device: Device = "cpu"
    dtype: Dtype = "float32"
    batch: int = 16

    def where(self, option: str) -> str:
        """What to call an option of this reward in an error."""
        return f"reward '{self.reward}', option {option}"

    def place(self, module: Module, *, dtype: Dtype | None = None) -> Module:
        """The module, frozen, on the device.

        Args:
            module: on the CPU.
            dtype: its precision there; by default that of the option.

        Raises:
            RewardError: a GPU is asked for and there is none: never a silent run on the CPU.
        """
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            remedy = "run on a GPU node with a CUDA build of torch, or set the option device to cpu"
            message = "a GPU is asked for (device = cuda) but torch sees none"
            raise RewardError(message, where=self.where("device"), remedy=remedy)
        return module.requires_grad_(False).eval().to(self.device, getattr(torch, dtype or self.dtype))

    def batches(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """The items in batches."""
        for start in range(0, len(items), self.batch):
            yield items[start : start + self.batch]
