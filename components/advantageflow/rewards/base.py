"""What a reward is: a named, versioned scorer of images with declared columns and ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from advantageflow.records import Prompt

if TYPE_CHECKING:
    import numpy as np

Result = tuple[dict[str, float], dict[str, Any]]
"""Values by column, and details for a person (JSON-able)."""


@runtime_checkable
class Reward(Protocol):
    """Scores images against the prompts that they were generated from.

    A reward is deterministic, and fails loudly: an image that it cannot score raises, it never becomes 0.

    Attributes:
        name: what settings call it.
        version: changes whenever scores may: code, weights hash, library that scores depend on.
        columns: lowest and highest value by column; each score has every column.
        higher_is_better: whether training should raise the columns (else it lowers them).

    Two more are optional. `headline`: the column that reports are headed by, where it is not 'strict'. `loads_weights`:
    True if `version` loads a model; it is then not read to list rewards.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def columns(self) -> Mapping[str, tuple[float, float]]: ...

    @property
    def higher_is_better(self) -> bool: ...

    def check(self, prompt: Prompt) -> None:
        """Say before any work whether the prompt's spec can be scored.

        Raises:
            DataError: it cannot; names the field.
        """
        ...

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Score images.

        Args:
            prompts: the prompt of each image.
            images: uint8 arrays (H, W, 3).

        Returns:
            A result for each image, in order.
        """
        ...
