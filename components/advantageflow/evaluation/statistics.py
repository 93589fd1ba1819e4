"""Accuracy on held-out prompts with its uncertainty: means over tasks and images, and paired differences.

Images of one prompt resemble each other, so prompts are clusters: a standard error treats prompts, not images, as the
independent draws. Tasks are strata: the prompts of each are chosen on purpose, so only the spread within a task counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from advantageflow.errors import DataError

NORMAL_95 = 1.959964  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class Outcome:
    """How one held-out image was judged.

    Attributes:
        prompt_id: its prompt.
        task: its prompt's task.
        repetition: which of the prompt's images, from 0.
        seed: of its initial noise.
        strict: the reward's 0/1 column (or what stands in for it).
        soft: the reward's graded column (or what stands in for it).
        terms: value of each of the reward's terms, by name.
    """

    prompt_id: str
    task: str
    repetition: int
    seed: int
    strict: float
    soft: float
    terms: Mapping[str, float] = field(default_factory=dict)

    def value(self, column: str) -> float:
        """Its value of 'strict', 'soft' or a term."""
        return self.terms[column] if column in self.terms else float(getattr(self, column))


@dataclass(frozen=True)
class Estimate:
    """A mean and how far it may be off.

    Attributes:
        mean: of the images that were judged.
        standard_error: of that mean, as an estimate for all prompts and seeds like these.
    """

    mean: float
    standard_error: float

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % confidence interval by the normal approximation."""
        reach = NORMAL_95 * self.standard_error
        return self.mean - reach, self.mean + reach


def bounded_ci95(estimate: Estimate, limits: tuple[float, float]) -> list[float]:
    """The 95 % interval, within what the column can be."""
    low, high = estimate.ci95
    return [max(low, limits[0]), min(high, limits[1])]


def task_estimates(outcomes: Sequence[Outcome], column: str) -> dict[str, Estimate]:
    """Mean of each task, in alphabetical order.

    With m the mean of the task's N images over P prompts, and r_p the sum of (y - m) over prompt p, the variance of m
    is P / (P - 1) * sum_p r_p^2 / N^2 (linearised ratio estimate, clustered by prompt). A task of a single prompt has
    its images as clusters; a task of a single image, no error that could be estimated (0).

    Args:
        outcomes: images judged.
        column: 'strict', 'soft' or a term.
    """
    by_task: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_task.setdefault(outcome.task, []).append(outcome)
    return {task: _clustered_mean(images, column) for task, images in sorted(by_task.items())}


def mean_of_task_means(outcomes: Sequence[Outcome], column: str) -> Estimate:
    """The overall figure as GenEval reports it: tasks weigh equally, however many images they have.

    The error is the stratified one: sqrt(sum of the task means' variances) / number of tasks.
    """
    tasks = task_estimates(outcomes, column).values()
    variance = sum(task.standard_error**2 for task in tasks) / len(tasks) ** 2
    return Estimate(math.fsum(task.mean for task in tasks) / len(tasks), math.sqrt(variance))


def image_mean(outcomes: Sequence[Outcome], column: str) -> Estimate:
    """The plain mean over images: tasks weigh by their number of images."""
    sizes: dict[str, int] = {}
    for outcome in outcomes:
        sizes[outcome.task] = sizes.get(outcome.task, 0) + 1
    tasks = task_estimates(outcomes, column)
    shares = {task: size / len(outcomes) for task, size in sizes.items()}
    variance = sum((shares[task] * estimate.standard_error) ** 2 for task, estimate in tasks.items())
    return Estimate(math.fsum(shares[task] * estimate.mean for task, estimate in tasks.items()), math.sqrt(variance))


def difference(before: Sequence[Outcome], after: Sequence[Outcome], column: str) -> Estimate:
    """The change of the mean of task means, image by image on equal prompts and seeds.

    Pairing takes out what the prompts and the noise have in common, so this interval is narrower than the two
    intervals apart suggest.

    Raises:
        DataError: the two did not judge the same images.
    """
    return mean_of_task_means(paired(before, after, column, lambda old, new: new - old), column)


def paired(
    before: Sequence[Outcome], after: Sequence[Outcome], column: str, combine: Callable[[float, float], float]
) -> list[Outcome]:
    """Outcomes whose column holds what `combine` makes of its values before and after, on equal prompts and seeds.

    Args:
        before, after: images of two policies.
        column: 'strict', 'soft' or a term.
        combine: of the value before and the value after.

    Raises:
        DataError: the two did not judge the same images.
    """
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
        value = combine(earlier[key].value(column), outcome.value(column))
        change = {"terms": {**outcome.terms, column: value}} if column in outcome.terms else {column: value}
        combined.append(replace(outcome, **change))
    return combined


def clusters(images: Sequence[Outcome]) -> list[str | int]:
    """What each image is a draw of: its prompt; of a task's images that share a single prompt, each for itself."""
    one_prompt = len({image.prompt_id for image in images}) == 1
    return [(image.seed if one_prompt else image.prompt_id) for image in images]


def _clustered_mean(images: Sequence[Outcome], column: str) -> Estimate:
    values = [image.value(column) for image in images]
    mean = math.fsum(values) / len(values)
    residuals: dict[int | str, float] = {}
    for cluster, value in zip(clusters(images), values, strict=True):
        residuals[cluster] = residuals.get(cluster, 0.0) + value - mean
    return Estimate(mean, _standard_error(residuals.values(), len(values)))


def _standard_error(residuals: Iterable[float], count: int) -> float:
    """sqrt(P / (P - 1) * sum r_p^2) / N."""
    squares = [residual**2 for residual in residuals]
    if len(squares) < 2:
        return 0.0
    return math.sqrt(len(squares) / (len(squares) - 1) * math.fsum(squares)) / count
