"""When a run evaluates its policy, and on how many images."""

from __future__ import annotations

from typing import NamedTuple

from advantageflow.settings import RunSettings


class Evaluation(NamedTuple):
    """One evaluation of a run: after which round (0 is the base), on how many images."""

    round_index: int
    images: int


def evaluations(settings: RunSettings) -> list[Evaluation]:
    """The evaluations of a run, in order: base and final in full, every k rounds between them on fewer images."""
    between = range(settings.evaluation.every, settings.rounds, settings.evaluation.every)
    return [
        Evaluation(0, settings.evaluation.images),
        *(Evaluation(number, settings.evaluation.round_images) for number in between),
        Evaluation(settings.rounds, settings.evaluation.images),
    ]
