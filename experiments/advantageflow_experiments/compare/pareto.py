"""Two metrics that pull against each other: a point for each variant, and the front that none beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advantageflow_experiments.compare.records import CellResult, Comparison, Interval, Point
from advantageflow_experiments.compare.results import metric_of
from advantageflow_experiments.compare.statistics import estimate
from advantageflow_experiments.compare.style import GREY, INK, PALE, colour, label_points, picture, set_title


@dataclass(frozen=True)
class Trade:
    """A variant's place in the plane of the two metrics, with intervals where there are any."""

    label: str
    x: float
    y: float
    x_interval: Interval | None
    y_interval: Interval | None
    diverged: bool = False


def draw_pareto(comparison: Comparison, path: Path) -> None:
    """Draw every variant and the base model in the plane of the plan's two metrics.

    Args:
        comparison: with `pareto`.
        path: PNG file to write.
    """
    from matplotlib.colors import to_rgba

    axes_of = comparison.pareto
    assert axes_of is not None
    trades = [
        _trade(variant.label, [cell.last for cell in cells], axes_of.x, axes_of.y, cells)
        for variant in comparison.variants
        if (cells := comparison.cells_of(variant.name))
    ]
    cells = comparison.cells_of(comparison.variants[0].name)
    base = _trade("base model", [cell.points[0] for cell in cells], axes_of.x, axes_of.y, [])
    up = [_more_is_better(comparison, metric) for metric in (axes_of.x, axes_of.y)]
    signs = [1 if more else -1 for more in up]
    front = pareto_front([(signs[0] * trade.x, signs[1] * trade.y) for trade in trades])
    with picture(path, 8, 5) as figure:
        axes = figure.subplots()
        axes.plot([trades[k].x for k in front], [trades[k].y for k in front], "o-", color=colour(0), zorder=1,
                  label="the front: none is better in both")  # fmt: skip
        axes.plot([], [], "o", color=colour(1), label="another is better in both")
        for number, trade in enumerate([*trades, base]):
            ink = GREY if trade is base else colour(0) if number in front else colour(1)
            axes.errorbar(
                trade.x, trade.y, xerr=_reach(trade.x, trade.x_interval), yerr=_reach(trade.y, trade.y_interval),
                fmt="x" if trade.diverged else "o", color=ink, ms=9, mew=2.5 if trade.diverged else 1,
                mfc="white" if trade is base else ink, ecolor=to_rgba(ink, 0.5), elinewidth=1.2, capsize=3, zorder=3,
            )  # fmt: skip
        axes.set_xlabel(f"{axes_of.x_label or axes_of.x}  ({'more' if up[0] else 'less'} is better)")
        axes.set_ylabel(f"{axes_of.y_label or axes_of.y}  ({'more' if up[1] else 'less'} is better)")
        axes.margins(x=0.14, y=0.1)
        several = len(comparison.seeds) > 1
        how = f"mean of {len(comparison.seeds)} seeds" if several else "one seed; intervals over its held-out images"
        set_title(figure, axes, comparison.title, how)
        figure.legend(loc="outside lower center", ncols=2, fontsize=11)
        label_points(axes, [(trade.x, trade.y, _name(trade), PALE if trade is base else INK)
                            for trade in (*trades, base)])  # fmt: skip


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that none equals in both and beats in one, by rising x; of x and y, more is better."""
    best = [
        index
        for index, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    ]
    return sorted(best, key=lambda index: points[index])


def _name(trade: Trade) -> str:
    return f"{trade.label} (diverged)" if trade.diverged else trade.label


def _more_is_better(comparison: Comparison, metric: str) -> bool:
    term = comparison.cells[0].last.terms.get(metric)
    return term is None or term.higher_is_better


def _trade(label: str, points: Sequence[Point], x: str, y: str, cells: Sequence[CellResult]) -> Trade:
    diverged = any(cell.status == "diverged" for cell in cells)
    (x_mean, x_interval), (y_mean, y_interval) = _place(points, x), _place(points, y)
    return Trade(label, x_mean, y_mean, x_interval, y_interval, diverged)


def _place(points: Sequence[Point], metric: str) -> tuple[float, Interval | None]:
    """Mean over seeds with its interval; of a single seed, the interval over the evaluation's images."""
    if len(points) > 1:
        value = estimate([metric_of(point, metric) for point in points])
        return value.mean, value.ci95
    point = points[0]
    known = {"strict": point.strict_ci95} | {name: term.ci95 for name, term in point.terms.items()}
    return metric_of(point, metric), known.get(metric)


def _reach(mean: float, interval: Interval | None) -> list[list[float]] | None:
    return None if interval is None else [[mean - interval[0]], [interval[1] - mean]]
