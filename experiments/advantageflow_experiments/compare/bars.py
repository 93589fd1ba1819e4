"""Accuracy of every variant by task, as bars; the base model as a mark."""

from __future__ import annotations

from pathlib import Path

from advantageflow_experiments.compare.records import Comparison, Estimate, Interval
from advantageflow_experiments.compare.style import INK, colour, picture, set_title, within

_GROUP = 0.82  # of the distance between two tasks, taken by bars


def draw_tasks(comparison: Comparison, path: Path) -> None:
    """Draw the accuracy of every variant for each task, with intervals over seeds."""
    tasks = list(comparison.variants[0].tasks)
    width = _GROUP / len(comparison.variants)
    with picture(path, 8, 4.4) as figure:
        axes = figure.subplots()
        for number, variant in enumerate(comparison.variants):
            left = (number - (len(comparison.variants) - 1) / 2) * width
            places = [place + left for place in range(len(tasks))]
            values = [variant.tasks[task] for task in tasks]
            axes.bar(places, [value.mean for value in values], 0.92 * width, color=colour(number), label=variant.label)
            bounded = [(place, value) for place, value in zip(places, values, strict=True) if value.ci95]
            axes.errorbar(
                [place for place, _ in bounded], [value.mean for _, value in bounded],
                yerr=list(zip(*(_reach(value, comparison.limits) for _, value in bounded), strict=True)) or None,
                fmt="none", ecolor=INK, elinewidth=1, capsize=2,
            )  # fmt: skip
        for place, task in enumerate(tasks):
            base = _base(comparison, task)
            name = "base model" if place == 0 else "_not in the legend"
            axes.hlines(base, place - _GROUP / 2, place + _GROUP / 2, color=INK, ls=(0, (2, 1.5)), lw=1.6, label=name)
        axes.set_xticks(range(len(tasks)), [task.replace("_", "\n") for task in tasks])
        if comparison.limits:
            axes.set_ylim(0, 1.02 * comparison.limits[1])
        axes.set_ylabel(comparison.measure)
        axes.grid(visible=False, axis="x")
        set_title(figure, axes, f"{comparison.title}: by task")
        figure.legend(loc="outside lower center", ncols=min(5, len(comparison.variants) + 1), fontsize=11)


def _reach(value: Estimate, limits: Interval | None) -> tuple[float, float]:
    """How far the error bar goes down and up."""
    assert value.ci95 is not None
    low, high = within(value.ci95, limits)
    return value.mean - low, high - value.mean


def _base(comparison: Comparison, task: str) -> float:
    """The base model's accuracy, mean over seeds (of the first variant: it is the same for all)."""
    cells = comparison.cells_of(comparison.variants[0].name)
    return sum(cell.points[0].tasks[task] for cell in cells) / len(cells)
