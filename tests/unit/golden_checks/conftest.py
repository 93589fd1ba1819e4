"""A reward that can be broken in any way, and pictures for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from advantageflow.errors import DataError
from advantageflow.golden_checks.pictures import Picture
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result


class Brightness:
    """Mean brightness in [0, 1], changed by what a test puts in place of `value`."""

    name = "brightness"
    version = "3"
    columns: Mapping[str, tuple[float, float]] = {"mean": (0.0, 1.0), "fixed": (0.0, 1.0)}
    higher_is_better = True

    def __init__(self, value: Callable[[float, int], float] = lambda mean, batch: mean) -> None:
        self.value = value

    def check(self, prompt: Prompt) -> None:
        if "unreadable" in prompt.text:
            raise DataError("no thing to see")

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        return [({"mean": self.value(float(i.mean()) / 255, len(images)), "fixed": 0.5}, {}) for i in images]


def picture(name: str, level: int, text: str = "grey") -> Picture:
    return Picture(name, Prompt(text, "eval", "all"), np.full((4, 4, 3), level, np.uint8))


@pytest.fixture
def pictures() -> list[Picture]:
    return [picture("dark", 51), picture("light", 204), picture("other", 0, "unreadable")]


@pytest.fixture
def brightness() -> type[Brightness]:
    return Brightness
