"""What all learned rewards have: the options of their execution, and a version that says which weights they have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from advantageflow.records import Prompt
from advantageflow.rewards.backbones.execution import Batch, Device, Dtype, Execution
from advantageflow.rewards.base import Result

if TYPE_CHECKING:
    import numpy as np

    from advantageflow.rewards.backbones.clip import ClipPairs


class LearnedReward(BaseModel, ABC):
    """A reward by models whose weights are loaded when they are first needed: by `version` or by `score`.

    The options are the fields of the class; beside them it has `name`, `columns` and `score`.

    Attributes:
        device, batch, dtype: see Execution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    code_version: ClassVar[str] = "1"  # to be raised whenever the code gives other scores by the same weights
    higher_is_better: ClassVar[bool] = True

    device: Device = "cpu"
    batch: Batch = 16
    dtype: Dtype = "float32"

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

    @property
    def _execution(self) -> Execution:
        return Execution(self.name, self.device, self.dtype, self.batch)

    @property
    @abstractmethod
    def _weights(self) -> str:
        """Hash of the weights as loaded, in float32, so that it is the same in every precision; loads them."""


class ClipReward(LearnedReward):
    """A reward by a CLIP model that compares each image with its own prompt."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Score each image against its prompt; details hold the number of tokens cut off the prompt.

        Raises:
            RewardError: the model cannot be loaded, or the GPU asked for is not there.
        """
        return self._clip.scores([self._text(prompt) for prompt in prompts], images)

    def _text(self, prompt: Prompt) -> str:
        """What the model reads of a prompt."""
        return prompt.text

    @property
    def _weights(self) -> str:
        return self._clip.weights

    @cached_property
    def _clip(self) -> ClipPairs:
        return self._load()

    @abstractmethod
    def _load(self) -> ClipPairs: ...
