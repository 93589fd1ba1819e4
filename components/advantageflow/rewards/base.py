"""What a reward is: a named, versioned scorer of images with declared columns and ranges."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from advantageflow.errors import RewardError
from advantageflow.records import Prompt

STRICT = "strict"  # column, 0 or 1: everything is exactly as asked
CORRECT = "correct"  # column, 0 or 1: the official evaluation passes, which may ask for less
ACCURACIES = (STRICT, CORRECT)

Result = tuple[dict[str, float], dict[str, Any]]
"""Values by column, and details for a person (JSON-able)."""


class RewardStopped(RewardError):
    """A reward that no image can be scored by for now: its process hung, grew or ended, its judge gives no answer."""


@runtime_checkable
class Reward(Protocol):
    """Scores images against the prompts that they were generated from.

    A reward is deterministic, and fails loudly: an image that it cannot score raises, it never becomes 0. What its
    class has to be told (a device, a model) are keyword arguments, which settings give as `options`.

    Attributes:
        name: what settings call it.
        version: changes whenever scores may: code, weights hash, library that scores depend on.
        columns: lowest and highest value by column; each score has every column.
        higher_is_better: whether training should raise the columns (else it lowers them).

    Four more are optional. `headline`: the column that reports are headed by, where it is not 'strict'.
    `unloaded_version`: see `planned_version`. `reads_any`: true where it does not say which prompts it can read, so
    that it is tried on prompts of the run alone. `score_each`: as `score`, one result after the other, with the
    RewardError of an image that it cannot score in place of a result; without it, a batch that fails is scored image by
    image.
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
        """Say before any work whether the prompt's spec can be scored. Raises DataError: it cannot; names the field."""
        ...

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Score images.

        Args:
            images: uint8 arrays (H, W, 3).

        Returns:
            A result for each image, in order.

        Raises:
            Exception: an image cannot be scored, which is looked for then.
        """
        ...


def planned_version(reward: Reward) -> str:
    """The version as far as it is known before anything is scored.

    A learned reward's version has the hash of its weights, which are not to be loaded on a machine that does not score:
    such a reward has an `unloaded_version` as well.
    """
    unloaded: str | None = getattr(reward, "unloaded_version", None)
    return reward.version if unloaded is None else unloaded


def headline_column(reward: Reward, trained: str) -> str:
    """The column that reports are headed by: the accuracy that its field compares models by.

    A reward may name it in its attribute `headline` (GenEval's is 'correct': strict scores are for training). Else it
    is 'strict'; and for a reward that has no such column, the one that training maximises.
    """
    named = getattr(reward, "headline", STRICT)
    return named if named in reward.columns else trained
