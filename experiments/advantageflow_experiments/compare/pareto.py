"""Two metrics that pull against each other: a point for each variant, and the front that none beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow_experiments.compare.comparison import Comparison, Estimate, Point
from advantageflow_experiments.compare.statistics import estimate
from advantageflow_experiments.compare.style import GREY, picture, set_legend, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = "osD^vP"


def draw_pareto(comparison: Comparison, path: Path) -> None:
    """Draw every variant and the base model in the plane of the plan's two metrics.

    Args:
        comparison: with `pareto`.
        path: PNG file to write.
    """
    metrics = comparison.plan.pareto
    assert metrics is not None
    runs = [comparison.cells_of(variant.name) for variant in comparison.variants]
    ends = [[_measured([cell.last for cell in cells], metric) for metric in (metrics.x, metrics.y)] for cells in runs]
    base = [_measured([cell.points[0] for cell in runs[0]], metric) for metric in (metrics.x, metrics.y)]
    up = [_more_is_better(comparison, metric) for metric in (metrics.x, metrics.y)]
    signs = [1 if more else -1 for more in up]
    front = pareto_front([(signs[0] * x.mean, signs[1] * y.mean) for x, y in ends])
    with picture(path, 8, 5.6) as figure:
        axes = figure.subplots()
        for number, (variant, (x, y)) in enumerate(zip(comparison.variants, ends, strict=True)):
            label = f"{variant.label} (diverged)" if variant.diverged else variant.label
            _point(axes, x, y, marker=_MARKS[number % len(_MARKS)], label=label)
        _point(axes, *base, color=GREY, marker="o", mfc="white", label="base model")
        axes.plot([ends[k][0].mean for k in front], [ends[k][1].mean for k in front], color=GREY, zorder=1,
                  label="the front: none is better in both")  # fmt: skip
        axes.set_xlabel(f"{metrics.x_label or metrics.x}  ({'more' if up[0] else 'less'} is better)")
        axes.set_ylabel(f"{metrics.y_label or metrics.y}  ({'more' if up[1] else 'less'} is better)")
        several = len(comparison.plan.seeds) > 1
        how = comparison.spread if several else "one seed; intervals over its held-out images"
        set_title(figure, axes, comparison.plan.title, how)
        set_legend(figure, columns=3)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that none equals in both and beats in one, by rising x; of x and y, more is better."""
    best = [
        index
        for index, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    ]
    return sorted(best, key=lambda index: points[index])


def _more_is_better(comparison: Comparison, metric: str) -> bool:
    term = comparison.cells[0].last.terms.get(metric)
    return term is None or term.higher_is_better


def _measured(points: Sequence[Point], metric: str) -> Estimate:
    """Mean over seeds with its interval; of a single seed, the interval over the evaluation's images."""
    over_seeds = estimate([point.value(metric) for point in points])
    if len(points) > 1:
        return over_seeds
    terms = points[0].terms
    over_images = points[0].strict_ci95 if metric == "strict" else terms[metric].ci95 if metric in terms else None
    return over_seeds.model_copy(update={"ci95": over_images})


def _point(axes: Axes, x: Estimate, y: Estimate, **style: Any) -> None:
    axes.errorbar(
        x.mean, y.mean, xerr=_reach(x), yerr=_reach(y), ls="", ms=9, elinewidth=1.2, capsize=3, zorder=3, **style
    )


def _reach(value: Estimate) -> list[list[float]] | None:
    """How far the interval goes down and up."""
    return value.ci95 and [[value.mean - value.ci95[0]], [value.ci95[1] - value.mean]]
