"""Figures over seeds: means with Student's t intervals, paired differences, mean curves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from advantageflow_experiments.compare.records import CurvePoint, Estimate


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of n >= 1 independent values with its 95 % interval: mean +- t(.975, n - 1) s / sqrt(n).

    The interval is for the mean over seeds like these, on the same held-out prompts; of one value there is none.
    """
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean=mean, ci95=None, count=1)
    from scipy.stats import t

    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    reach = float(t.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return Estimate(mean=mean, ci95=(mean - reach, mean + reach), count=count)


def paired(values: dict[int, float], reference: dict[int, float]) -> Estimate:
    """Mean difference values - reference, seed by seed, with its interval.

    Runs of one seed share prompts, initial noise and held-out images, so what those have in common drops out.

    Args:
        values: by seed.
        reference: by the same seeds.
    """
    return estimate([values[seed] - reference[seed] for seed in sorted(values)])


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]], complete: Sequence[bool]) -> list[CurvePoint]:
    """The mean of several runs' curves and its interval, evaluation by evaluation.

    A curve that was cut short keeps its last value: the policy that it had is still there. Where the runs' places on
    the axis differ (seconds do), the mean of the complete ones is taken.

    Args:
        curves: (x, accuracy) of each run's evaluations in order; runs that were not cut short have equally many.
        complete: for each curve, whether its run is; where none is, the longest gives the places.
    """
    longest = max(curves, key=len)
    whole = [curve for curve, is_whole in zip(curves, complete, strict=True) if is_whole] or [longest]
    return [
        CurvePoint(
            x=math.fsum(curve[index][0] for curve in whole) / len(whole),
            accuracy=estimate([curve[min(index, len(curve) - 1)][1] for curve in curves]),
        )
        for index in range(len(longest))
    ]


def curve_mean(curve: Sequence[tuple[float, float]], end: float) -> float:
    """Mean height of a learning curve from its first place to `end`, linear between evaluations (trapezoidal rule).

    It counts how early a run learns as well as what it ends at, and leans on all evaluations, so it scatters less over
    seeds than the last one does. A curve that was cut short keeps its last value up to `end`.

    Args:
        curve: (x, accuracy) of a run's evaluations in order.
        end: the place where complete runs end.
    """
    whole = [*curve, (end, curve[-1][1])] if curve[-1][0] < end else [*curve]
    width = whole[-1][0] - whole[0][0]
    if width == 0:
        return whole[-1][1]
    areas = [(right - left) * (low + high) / 2 for (left, low), (right, high) in itertools.pairwise(whole)]
    return math.fsum(areas) / width


def first_reached(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    """Where the curve first reaches the target, between two points by linear interpolation; None if it never does."""
    if curve[0][1] >= target:
        return curve[0][0]
    for (left, before), (right, after) in itertools.pairwise(curve):
        if after >= target:
            return left + (right - left) * (target - before) / (after - before)
    return None
