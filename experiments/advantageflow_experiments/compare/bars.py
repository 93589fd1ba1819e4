"""Accuracy of every variant by task, as bars; the base model as a mark."""

from __future__ import annotations

from pathlib import Path

from advantageflow_experiments.compare.comparison import Comparison
from advantageflow_experiments.compare.style import INK, picture, set_legend, set_title

_GROUP = 0.82  # of the distance between two tasks, taken by bars


def draw_tasks(comparison: Comparison, path: Path) -> None:
    """Draw the accuracy of every variant for each task, with intervals over seeds."""
    base = comparison.base_tasks()
    width = _GROUP / len(comparison.variants)
    with picture(path, 8, 4.4) as figure:
        axes = figure.subplots()
        for number, variant in enumerate(comparison.variants):
            left = (number - (len(comparison.variants) - 1) / 2) * width
            values = [variant.tasks[task] for task in base]
            axes.bar(
                [place + left for place in range(len(base))], [value.mean for value in values], 0.92 * width,
                yerr=[value.ci95[1] - value.mean if value.ci95 else 0 for value in values],
                label=variant.label, error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2},
            )  # fmt: skip
        starts = [place - _GROUP / 2 for place in range(len(base))]
        ends = [place + _GROUP / 2 for place in range(len(base))]
        axes.hlines([*base.values()], starts, ends, color=INK, ls=(0, (2, 1.5)), lw=1.6, label="base model")
        axes.set_xticks(range(len(base)), [task.replace("_", "\n") for task in base])
        axes.set_ylabel(comparison.measure)
        axes.grid(visible=False, axis="x")
        set_title(figure, axes, f"{comparison.plan.title}: by task", comparison.spread)
        set_legend(figure, columns=3)
