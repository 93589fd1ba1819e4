"""A reward of one's own: how much of a picture has the colour that its prompt asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from advantageflow.errors import DataError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result

COLOURS = {"red": (220, 40, 40), "green": (40, 160, 60), "blue": (40, 80, 220)}


class ColourCover:
    """Share of the pixels that lie near the colour of the prompt's spec."""

    name = "colour_cover"
    version = "1"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"cover": (0.0, 1.0)}
    higher_is_better = True

    def __init__(self, *, reach: float = 90.0) -> None:
        """Args: reach: how far from the colour a pixel still counts, as a distance in RGB."""
        self.reach = reach

    def check(self, prompt: Prompt) -> None:
        """The spec names a colour of COLOURS."""
        colour = prompt.spec.get("colour")
        if colour not in COLOURS:
            remedy = f"give one of {', '.join(COLOURS)}"
            raise DataError(f"invalid colour {colour!r}", where=f"prompt '{prompt.text}', spec.colour", remedy=remedy)

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """One result an image: the value of each column, and details for a person."""
        return [self._score(prompt, image) for prompt, image in zip(prompts, images, strict=True)]

    def _score(self, prompt: Prompt, image: np.ndarray) -> Result:
        distance = np.linalg.norm(image.astype(np.float64) - COLOURS[prompt.spec["colour"]], axis=-1)
        near = distance < self.reach
        return {"cover": float(near.mean())}, {"pixels": int(near.sum())}
