"""Means of what held-out images were judged, with bootstrap intervals; paired changes and win rates of two policies.

Images of one prompt resemble each other, so whole prompts are drawn anew (a cluster bootstrap), within their tasks,
whose prompts are chosen on purpose (a stratified one): Davison and Hinkley, Bootstrap Methods and Their Application,
1997, sections 3.2 and 3.8.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advantageflow.errors import DataError

REPLICATES = 2000  # how often prompts are drawn anew
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """How one held-out image was judged; NaN in all values where the reward could not score it."""

    prompt_id: str  # its prompt
    task: str  # its prompt's task
    repetition: int  # which of the prompt's images, from 0
    seed: int  # of its initial noise
    strict: float  # the reward's 0/1 column (or what stands in for it)
    soft: float  # the reward's graded column (or what stands in for it)
    terms: Mapping[str, float] = field(default_factory=dict)  # value of each of the reward's terms, by name

    @property
    def judged(self) -> bool:
        return not math.isnan(self.soft)

    def value(self, column: str) -> float:
        """Its value of 'strict', 'soft' or a term."""
        return self.terms[column] if column in self.terms else float(getattr(self, column))


@dataclass(frozen=True)
class Interval:
    """A mean of judged images, with the bounds of its percentile interval (95 % unless told otherwise).

    Of a task whose images are all one cluster the bounds are the mean itself.
    """

    mean: float
    low: float
    high: float

    @property
    def ci95(self) -> list[float]:
        return [self.low, self.high]

    def as_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "ci95": self.ci95}


@dataclass(frozen=True)
class Means:
    """Intervals of each task in alphabetical order, and of the mean of the task means.

    The overall figure is GenEval's: tasks weigh equally, however many images they have.
    """

    tasks: dict[str, Interval]
    overall: Interval

    def as_json(self) -> dict[str, Any]:
        return {"overall": self.overall.as_json(), "tasks": {task: one.as_json() for task, one in self.tasks.items()}}


def task_means(outcomes: Sequence[Outcome], column: str, *, seed: int = 0, level: float = LEVEL) -> Means:
    """Means of a column ('strict', 'soft' or a term) by task, and over tasks, with intervals of this level in (0, 1).

    At least one image was judged. Equal seeds of the draws give equal intervals.
    """
    random = np.random.default_rng(seed)
    means: dict[str, float] = {}
    draws: dict[str, Floats] = {}
    for task, images in sorted(_by_task([one for one in outcomes if one.judged]).items()):
        sums, counts = _by_cluster(images, column)
        means[task] = float(sums.sum() / counts.sum())
        number = len(sums)
        times = random.multinomial(number, np.full(number, 1 / number), size=REPLICATES)  # how often each is drawn
        draws[task] = (times @ sums) / (times @ counts)

    def interval(mean: float, drawn: Floats) -> Interval:
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        return Interval(mean, float(low), float(high))

    overall = interval(float(np.mean(list(means.values()))), np.mean(list(draws.values()), axis=0))
    return Means({task: interval(means[task], drawn) for task, drawn in draws.items()}, overall)


def difference(before: Sequence[Outcome], after: Sequence[Outcome], column: str, *, level: float = LEVEL) -> Means:
    """Changes of a column, image by image on equal prompts and noise.
    Raises DataError: the two did not judge the same images.

    Pairing takes out what the prompts and the noise have in common, so these intervals are narrower than those of the
    two policies apart suggest.
    """
    return task_means(_paired(before, after, column, lambda old, new: new - old), column, level=level)


def win_rate(
    before: Sequence[Outcome], after: Sequence[Outcome], column: str, *, higher_is_better: bool = True
) -> dict[str, Any]:
    """How often the later images score better than the earlier ones, image by image on equal prompts and noise.

    Gives `wins`, `ties`, `losses`: shares of the pairs, means over tasks, which add up to 1; `rate`: wins and half the
    ties as mean and interval; 0.5 is no difference. Raises DataError: the two did not judge the same images.
    """

    def points(old: float, new: float) -> float:
        if math.isclose(old, new, rel_tol=1e-9, abs_tol=1e-12):  # equal images may differ in the last bits of a mean
            return 0.5
        return float((new > old) == higher_is_better)

    scored = _paired(before, after, column, points)
    by_task = [np.array([one.value(column) for one in images]) for images in _by_task(scored).values()]
    shares = {
        name: float(np.mean([np.mean(of_task == worth) for of_task in by_task]))
        for name, worth in (("wins", 1.0), ("ties", 0.5), ("losses", 0.0))
    }
    return {**shares, "rate": task_means(scored, column).overall.as_json()}


def _paired(
    before: Sequence[Outcome], after: Sequence[Outcome], column: str, combine: Callable[[float, float], float]
) -> list[Outcome]:
    """Outcomes whose column holds what `combine` makes of its values before and after, on equal prompts and seeds."""
    earlier = {(outcome.prompt_id, outcome.seed): outcome for outcome in before}
    later = {(outcome.prompt_id, outcome.seed): outcome for outcome in after}
    if earlier.keys() != later.keys():
        alone = len(earlier.keys() ^ later.keys())
        raise DataError(
            f"the two evaluations cannot be compared: {alone} images are in only one of them",
            where="evaluation",
            remedy="compare evaluations of one run's prompts, with equal seed and number of images",
        )
    combined = []
    for key, outcome in later.items():
        if not (outcome.judged and earlier[key].judged):
            continue
        value = combine(earlier[key].value(column), outcome.value(column))
        change = {"terms": {**outcome.terms, column: value}} if column in outcome.terms else {column: value}
        combined.append(replace(outcome, **change))
    return combined


def _by_task(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    by_task = defaultdict(list)
    for outcome in outcomes:
        by_task[outcome.task].append(outcome)
    return by_task


def _by_cluster(images: Sequence[Outcome], column: str) -> tuple[Floats, Floats]:
    """Sum of the values, and number, of the images of each prompt; of a single prompt, each image is for itself."""
    ids: list[str | int] = [image.prompt_id for image in images]
    if len(set(ids)) == 1:
        ids = [image.seed for image in images]
    _, index = np.unique(ids, return_inverse=True)
    values = np.array([image.value(column) for image in images], dtype=np.float64)
    return np.bincount(index, weights=values).astype(np.float64), np.bincount(index).astype(np.float64)
