"""The reward of a simulated year: that of the embedded world, until it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from advantageflow.records import Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.shapes import ShapesReward

if TYPE_CHECKING:
    import numpy as np


class Judge(ShapesReward):
    """As `shapes`; while it is broken, wrong pictures are right and right ones wrong."""

    name = "judge"
    broken: ClassVar[bool] = False

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        results = super().score(prompts, images)
        if not self.broken:
            return results
        return [({name: 1.0 - value for name, value in values.items()}, told) for values, told in results]
