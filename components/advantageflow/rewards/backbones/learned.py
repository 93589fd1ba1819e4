"""What all learned rewards have: where and how they compute, and a version that says which weights they have."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from advantageflow.errors import RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result

if TYPE_CHECKING:
    from torch import nn


Dtype = Literal["float32", "bfloat16", "float16"]
Item = TypeVar("Item")
Module = TypeVar("Module", bound="nn.Module")


class LearnedReward(BaseModel, ABC):
    """A reward by models whose weights are loaded when they are first needed: by `version` or by `score`.

    The options are the fields of the class; beside them it has `name`, `columns` and `score`. Whether a GPU is there is
    asked only when one is needed: settings are checked on machines that have none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    code_version: ClassVar[str] = "1"  # to be raised whenever the code gives other scores by the same weights
    higher_is_better: ClassVar[bool] = True

    device: Literal["cpu", "cuda"] = "cpu"  # 'cpu', or 'cuda' for the first visible GPU
    batch: Annotated[int, Field(ge=1, strict=True)] = 16  # images that go through the model at once
    dtype: Dtype = "float32"  # precision of the model; the arithmetic on its outputs is always float32

    @property
    def version(self) -> str:
        """What is known before the weights are loaded, and their hash; loads them (RewardError if they cannot be)."""
        return f"{self.unloaded_version}, weights {self._weights}"

    @property
    def unloaded_version(self) -> str:
        """What is known of the version before the weights are loaded: that of the code, precision, and the like."""
        return f"{self.code_version}, {self.dtype}"

    def check(self, prompt: Prompt) -> None:
        """Any prompt will do."""

    def where(self, option: str) -> str:
        """What to call an option of this reward in an error."""
        return f"reward '{self.name}', option {option}"

    def place(self, module: Module, *, dtype: Dtype | None = None) -> Module:
        """A module, frozen, on the device, in the option's precision if not in another.
        Raises RewardError: a GPU is asked for and there is none: never a silent run on the CPU.
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

    @property
    def _weights(self) -> str:
        """Hash of the weights as loaded, in float32, so that it is the same in every precision; loads them."""
        return str(self._parts[-1])

    @cached_property
    def _parts(self) -> tuple[Any, ...]:
        """What it computes with, loaded, and last the hash of its weights."""
        raise NotImplementedError


class ClipReward(LearnedReward):
    """A reward by a CLIP model that compares each image with its own prompt; its `_parts` are those of `clip_parts`."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Score each image against its prompt; details hold the number of tokens cut off the prompt.

        Raises RewardError if the model cannot be loaded, or the GPU asked for is not there.
        """
        from advantageflow.rewards.backbones.clip import clip_scores

        return clip_scores(self, self._parts, [self._text(prompt) for prompt in prompts], images) if images else []

    def _text(self, prompt: Prompt) -> str:
        """What the model reads of a prompt."""
        return prompt.text
