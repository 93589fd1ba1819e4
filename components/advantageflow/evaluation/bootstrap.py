"""Bootstrap intervals of what images were judged, and how often one policy beats another on equal prompts and noise.

Images of one prompt resemble each other, so whole prompts are drawn anew (a cluster bootstrap), within their tasks,
whose prompts are chosen on purpose (a stratified one): Davison and Hinkley, Bootstrap Methods and Their Application,
1997, sections 3.2 and 3.8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advantageflow.evaluation.statistics import Outcome, clusters, paired

REPLICATES = 2000
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds of its 95 % percentile interval.

    Attributes:
        mean: of the images that were judged.
        low, high: bounds; of a task whose images are all one cluster, the mean itself.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Means:
    """Intervals of each task, and of the mean of the task means."""

    tasks: dict[str, Interval]
    overall: Interval


@dataclass(frozen=True)
class WinRate:
    """How the images of one policy fare against those of another, on equal prompts and noise.

    Attributes:
        wins, ties, losses: shares of the pairs, means over tasks; they add up to 1.
        rate: wins and half the ties, with its interval; 0.5 is no difference.
    """

    wins: float
    ties: float
    losses: float
    rate: Interval


def bootstrap_means(outcomes: Sequence[Outcome], column: str, *, seed: int = 0, replicates: int = REPLICATES) -> Means:
    """Means of a column by task, and of the tasks, with bootstrap intervals.

    Args:
        outcomes: images judged, at least one.
        column: 'strict', 'soft' or a term.
        seed: of the draws; equal seeds give equal intervals.
        replicates: how often prompts are drawn anew.
    """
    random = np.random.default_rng(seed)
    by_task: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_task.setdefault(outcome.task, []).append(outcome)
    means: dict[str, float] = {}
    draws: dict[str, Floats] = {}
    for task, images in sorted(by_task.items()):
        sums, counts = _by_cluster(images, column)
        means[task] = float(sums.sum() / counts.sum())
        draws[task] = _draw(random, sums, counts, replicates)
    tasks = {task: _interval(means[task], drawn) for task, drawn in draws.items()}
    overall = float(np.mean(list(means.values())))
    return Means(tasks, _interval(overall, np.mean(list(draws.values()), axis=0)))


def bootstrap_change(
    before: Sequence[Outcome], after: Sequence[Outcome], column: str, *, seed: int = 0, replicates: int = REPLICATES
) -> Means:
    """Changes of a column, image by image on equal prompts and noise.

    Raises:
        DataError: the two did not judge the same images.
    """
    changes = paired(before, after, column, lambda old, new: new - old)
    return bootstrap_means(changes, column, seed=seed, replicates=replicates)


def win_rate(
    before: Sequence[Outcome],
    after: Sequence[Outcome],
    column: str,
    *,
    higher_is_better: bool = True,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> WinRate:
    """How often the later images score better than the earlier ones.

    Args:
        before, after: images of two policies on equal prompts and noise.
        column: 'strict', 'soft' or a term.
        higher_is_better: whether the larger value wins.
        seed, replicates: as in bootstrap_means.

    Raises:
        DataError: the two did not judge the same images.
    """

    def points(old: float, new: float) -> float:
        if math.isclose(old, new, rel_tol=1e-9, abs_tol=1e-12):  # equal images may differ in the last bits of a mean
            return 0.5
        return float((new > old) == higher_is_better)

    scored = paired(before, after, column, points)
    rate = bootstrap_means(scored, column, seed=seed, replicates=replicates).overall
    ties = _share(scored, column, 0.5)
    return WinRate(_share(scored, column, 1.0), ties, _share(scored, column, 0.0), rate)


def _share(scored: Sequence[Outcome], column: str, points: float) -> float:
    """Of the images that got so many points, mean over tasks."""
    by_task: dict[str, list[bool]] = {}
    for outcome in scored:
        by_task.setdefault(outcome.task, []).append(outcome.value(column) == points)
    return float(np.mean([np.mean(of_task) for of_task in by_task.values()]))


def _by_cluster(images: Sequence[Outcome], column: str) -> tuple[Floats, Floats]:
    """Sum of the values, and number, of each cluster's images."""
    place: dict[str | int, int] = {}
    indices = [place.setdefault(cluster, len(place)) for cluster in clusters(images)]
    values = np.array([image.value(column) for image in images], dtype=np.float64)
    return np.bincount(indices, weights=values).astype(np.float64), np.bincount(indices).astype(np.float64)


def _draw(random: np.random.Generator, sums: Floats, counts: Floats, replicates: int) -> Floats:
    """Means (replicates,) of as many clusters as there are, drawn with replacement."""
    number = len(sums)
    times = random.multinomial(number, np.full(number, 1 / number), size=replicates)
    return (times @ sums) / (times @ counts)


def _interval(mean: float, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high))
