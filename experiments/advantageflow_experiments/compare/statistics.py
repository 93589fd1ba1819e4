"""Figures over seeds: means with Student's t intervals, paired differences, mean curves."""

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

Interval = tuple[float, float]
Curve = list[tuple[float, float]]
"""Places of a run's evaluations (images or seconds) with the accuracies there."""


class Estimate(NamedTuple):
    """A mean over so many seeds and its 95 % interval by Student's t; None where one seed tells nothing of a spread."""

    mean: float
    ci95: Interval | None
    seeds: int


class CurvePoint(NamedTuple):
    """Accuracy at one place of an axis, over seeds."""

    x: float
    accuracy: Estimate


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of n >= 1 independent values with its 95 % interval: mean +- t(.975, n - 1) s / sqrt(n).

    The interval is for the mean over seeds like these, on the same held-out prompts; of one value there is none.
    """
    mean, count = fmean(values), len(values)
    if count == 1:
        return Estimate(mean=mean, ci95=None, seeds=1)
    from scipy.stats import t

    reach = float(t.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count)
    return Estimate(mean=mean, ci95=(mean - reach, mean + reach), seeds=count)


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Mean difference values - reference over the seeds that both have, with its interval; None if there are none.

    Runs of one seed share prompts, initial noise and held-out images, so what those have in common drops out.
    """
    differences = [values[seed] - reference[seed] for seed in sorted(values.keys() & reference.keys())]
    return estimate(differences) if differences else None


def mean_curve(curves: Sequence[Curve], complete: Sequence[bool]) -> tuple[CurvePoint, ...]:
    """The mean of several runs' curves and its interval, evaluation by evaluation.

    A curve that was cut short keeps its last value: the policy that it had is still there. Where the runs' places on
    the axis differ (seconds do), the mean of the complete ones is taken.

    Args:
        curves: of runs that were not cut short, equally many evaluations.
        complete: for each curve, whether its run is; where none is, the longest gives the places.
    """
    longest = max(curves, key=len)
    whole = [curve for curve, is_whole in zip(curves, complete, strict=True) if is_whole] or [longest]
    return tuple(
        CurvePoint(
            x=fmean(curve[index][0] for curve in whole),
            accuracy=estimate([curve[min(index, len(curve) - 1)][1] for curve in curves]),
        )
        for index in range(len(longest))
    )


def curve_mean(curve: Curve, end: float) -> float:
    """Mean height of a learning curve from its first place to `end`, linear between evaluations (trapezoidal rule).

    It counts how early a run learns as well as what it ends at, and leans on all evaluations, so it scatters less over
    seeds than the last one does. A curve that was cut short keeps its last value up to `end`, where complete runs end.
    """
    places, heights = zip(*curve, (max(end, curve[-1][0]), curve[-1][1]), strict=True)
    width = places[-1] - places[0]
    return float(np.trapezoid(heights, places) / width) if width else heights[-1]


def first_reached(curve: Curve, target: float) -> float | None:
    """Where the curve first reaches the target, between two points by linear interpolation; None if it never does."""
    if curve[0][1] >= target:
        return curve[0][0]
    for (left, before), (right, after) in itertools.pairwise(curve):
        if after >= target:
            return left + (right - left) * (target - before) / (after - before)
    return None
