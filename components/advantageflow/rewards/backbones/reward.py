"""What all learned rewards have: the options of their execution, and a version that says which weights they have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from advantageflow.records import Prompt
from advantageflow.rewards.backbones.execution import Device, Dtype, Execution


class LearnedReward(ABC):
    """A reward by models whose weights are loaded when they are first needed: by `version` or by `score`.

    Each class lists its options in its own constructor, which settings are held to, and has `columns` and `score`.

    Args:
        device, batch, dtype: see Execution.

    Raises:
        SettingsError: an option has a value that it cannot have.
    """

    name: ClassVar[str]
    code_version: ClassVar[str] = "1"  # to be raised whenever the code gives other scores by the same weights
    higher_is_better = True

    def __init__(self, *, device: Device, batch: int, dtype: Dtype) -> None:
        self._execution = Execution(self.name, device, dtype, batch)

    @property
    def version(self) -> str:
        """What is known before the weights are loaded, and their hash; loads them (RewardError if they cannot be)."""
        return f"{self.unloaded_version}, weights {self._weights}"

    @property
    def unloaded_version(self) -> str:
        """What is known of the version before the weights are loaded: that of the code, precision, and the like."""
        return f"{self.code_version}, {self._execution.dtype}"

    def check(self, prompt: Prompt) -> None:  # noqa: B027 - not abstract: most of these rewards can score any prompt
        """Any prompt will do."""

    @property
    @abstractmethod
    def _weights(self) -> str:
        """Hash of the weights as loaded, in float32, so that it is the same in every precision; loads them."""
