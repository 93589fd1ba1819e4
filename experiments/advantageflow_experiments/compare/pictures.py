"""The pictures of a comparison: curves, bars by task, trade-offs, and what was not trained on against the reward."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from advantageflow.annotations import Axes
from advantageflow_experiments.compare.comparison import CellResult, Comparison, Point, Read, final
from advantageflow_experiments.compare.plan import Grid, grid_name
from advantageflow_experiments.compare.statistics import Estimate, estimate
from advantageflow_experiments.compare.style import GREY, INK, PALE, picture, set_legend, set_title
from advantageflow_experiments.compare.table import write_tables

_GROUP = 0.82  # of the distance between two tasks, taken by bars
_MARKS = "osD^vP"


def draw(comparison: Comparison, folder: Path) -> list[Path]:
    """Write table.md and the pictures that its plan asks for into a folder; returns what was written, the table first.
    Raises StoreError: a file cannot be written.
    """
    pictures: dict[str, Callable[[Comparison, Path], None]]
    if comparison.plan.grid:
        pictures = {"heatmap.png": draw_heatmap}
    elif comparison.plan.pareto:
        pictures = {"pareto.png": _draw_pareto}
    else:
        pictures = {
            "accuracy_by_images.png": lambda one, path: _draw_curves(one, path, "by_images", "images generated"),
            "accuracy_by_seconds.png": lambda one, path: _draw_curves(
                one, path, "by_seconds", "seconds of rollouts, rewards and training"
            ),
            "tasks.png": _draw_tasks,
        }
        if comparison.untrained:
            pictures["untrained_by_reward.png"] = _draw_untrained
    table = folder / "table.md"
    write_tables(table, comparison)
    for name, draw_one in pictures.items():
        draw_one(comparison, folder / name)
    return [table, *(folder / name for name in pictures)]


def _draw_curves(comparison: Comparison, path: Path, axis: Literal["by_images", "by_seconds"], label: str) -> None:
    """Each variant's mean accuracy, its interval, and every seed's own line."""
    several = len(comparison.plan.seeds) > 1
    with picture(path, 8, 5.4) as figure:
        axes = figure.subplots()
        for variant, name in comparison.labels.items():
            points = comparison.curve(variant, axis)
            places, heights = [point.x for point in points], [point.accuracy.mean for point in points]
            (line,) = axes.plot(places, heights, label=f"{name}: {heights[-1]:.3f}", zorder=3)
            bounds = [point.accuracy.ci95 for point in points if point.accuracy.ci95]
            if bounds:
                low, high = zip(*bounds, strict=True)
                axes.fill_between(places, low, high, color=line.get_color(), alpha=0.14, lw=0, zorder=1)
            for cell in comparison.cells_of(variant):
                x, y = zip(*getattr(cell, axis), strict=True)
                if several:
                    axes.plot(x, y, lw=0.8, alpha=0.55, zorder=2, color=line.get_color(), ls=line.get_linestyle())
                if cell.diverged_round is not None:
                    axes.plot(x[-1:], y[-1:], "x", color=line.get_color(), ms=11, mew=2.5, zorder=4, clip_on=False)
        if any(cell.diverged_round is not None for cell in comparison.cells):
            axes.plot([], [], "x", color=PALE, ms=11, mew=2.5, label="diverged after this")
        target = comparison.plan.target
        if target is not None:
            axes.axhline(target, color=GREY, lw=1, ls=(0, (2, 2)), zorder=0, label=f"target {target:g}")
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
        axes.set_ylabel(f"{comparison.measure}, held-out prompts")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        how = ", its 95 % interval, and every seed as a thin line" if several else ""
        set_title(figure, axes, comparison.plan.title, f"{comparison.spread}{how}")
        set_legend(figure, columns=2)


def _draw_tasks(comparison: Comparison, path: Path) -> None:
    """Accuracy of every variant for each task, with intervals over seeds; the base model as a mark."""
    base = comparison.base_tasks()
    count = len(comparison.labels)
    width = _GROUP / count
    with picture(path, 8, 4.4) as figure:
        axes = figure.subplots()
        for number, (variant, label) in enumerate(comparison.labels.items()):
            left = (number - (count - 1) / 2) * width
            ends = [cell.last.tasks for cell in comparison.cells_of(variant)]
            values = [estimate([tasks[task] for tasks in ends]) for task in base]
            axes.bar(
                [place + left for place in range(len(base))], [value.mean for value in values], 0.92 * width,
                yerr=[value.ci95[1] - value.mean if value.ci95 else 0 for value in values],
                label=label, error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2},
            )  # fmt: skip
        starts = [place - _GROUP / 2 for place in range(len(base))]
        stops = [place + _GROUP / 2 for place in range(len(base))]
        axes.hlines([*base.values()], starts, stops, color=INK, ls=(0, (2, 1.5)), lw=1.6, label="base model")
        axes.set_xticks(range(len(base)), [task.replace("_", "\n") for task in base])
        axes.set_ylabel(comparison.measure)
        axes.grid(visible=False, axis="x")
        set_title(figure, axes, f"{comparison.plan.title}: by task", comparison.spread)
        set_legend(figure, columns=3)


def _draw_untrained(comparison: Comparison, path: Path) -> None:
    """Each measure that training did not aim at against the soft reward, evaluation by evaluation, mean over seeds."""
    measures, columns = comparison.untrained, 3
    rows = math.ceil(len(measures) / columns)
    with picture(path, 3.7 * columns, 2.9 * rows + 0.9) as figure:
        every = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes, measure in zip(every, measures, strict=False):
            for variant, label in comparison.labels.items():
                runs = comparison.cells_of(variant)
                whole = [run for run in runs if run.diverged_round is None] or runs[:1]
                along = [*zip(*(run.points for run in whole), strict=True)]
                x = [estimate([point.soft for point in points]).mean for points in along]
                y = [estimate([point.untrained[measure] for point in points]) for points in along]
                reach = [one.ci95[1] - one.mean if one.ci95 else 0.0 for one in y]
                axes.errorbar(
                    x, [one.mean for one in y], reach, marker="o", ms=4, capsize=3, elinewidth=1,
                    label=label if axes is every[0] else None,
                )  # fmt: skip
            axes.set_title(measure.replace("_", " "), fontsize=11)
            axes.tick_params(labelsize=9)
        for axes in every[len(measures) :]:
            axes.set_axis_off()
        for axes in every[max(0, len(measures) - columns) : len(measures)]:
            axes.set_xlabel("reward trained on, held-out prompts", fontsize=10)
        set_title(figure, every[0], f"{comparison.plan.title}: what was not trained on", every[0].get_title(loc="left"))
        set_legend(figure, columns=4)


def _draw_pareto(comparison: Comparison, path: Path) -> None:
    """Every variant and the base model in the plane of two metrics, and the front that none beats in both."""
    metrics = comparison.plan.pareto
    assert metrics is not None
    runs = [comparison.cells_of(variant) for variant in comparison.labels]
    ends = [[_measured([cell.last for cell in cells], metric) for metric in (metrics.x, metrics.y)] for cells in runs]
    base = [_measured([cell.points[0] for cell in runs[0]], metric) for metric in (metrics.x, metrics.y)]
    found = [comparison.cells[0].last.measured(metric) for metric in (metrics.x, metrics.y)]
    up = [one is None or one.higher_is_better for one in found]
    signs = [1 if more else -1 for more in up]
    front = pareto_front([(signs[0] * x.mean, signs[1] * y.mean) for x, y in ends])
    with picture(path, 8, 5.6) as figure:
        axes = figure.subplots()
        for number, ((variant, label), (x, y)) in enumerate(zip(comparison.labels.items(), ends, strict=True)):
            label += " (diverged)" if comparison.diverged(variant) else ""
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
    beaten = [any(a >= x and b >= y and (a, b) != (x, y) for a, b in points) for x, y in points]
    return sorted((index for index, lost in enumerate(beaten) if not lost), key=lambda index: points[index])


def _measured(points: Sequence[Point], metric: str) -> Estimate:
    """Mean over seeds with its interval; of a single seed, the interval over the evaluation's images."""
    over_seeds = estimate([point.value(metric) for point in points])
    if len(points) > 1:
        return over_seeds
    found = points[0].measured(metric)
    over_images = points[0].strict_ci95 if metric == "strict" else None if found is None else found.ci95
    return over_seeds._replace(ci95=over_images)


def _point(axes: Axes, x: Estimate, y: Estimate, **style: Any) -> None:
    axes.errorbar(
        x.mean, y.mean, xerr=_reach(x), yerr=_reach(y), ls="", ms=9, elinewidth=1.2, capsize=3, zorder=3, **style
    )


def _reach(value: Estimate) -> list[list[float]] | None:
    """How far the interval goes down and up."""
    return value.ci95 and [[value.mean - value.ci95[0]], [value.ci95[1] - value.mean]]


_DARK = 0.55  # luminance below which white type is read better than black
_NO_VALUE = "#d8dee4"


def draw_heatmap(comparison: Comparison, path: Path) -> None:
    """Draw both maps of a grid side by side; a cell of which runs diverged is hatched and says so."""
    grid = comparison.plan.grid
    assert grid is not None
    columns, rows = len(grid.columns.options), len(grid.rows.options)
    names = 0.16 * max(map(len, grid.rows.options))  # inches beside both maps
    with picture(path, 2.2 + 1.9 * columns + names, 1.7 + 0.75 * rows) as figure:
        left, right = figure.subplots(1, 2)
        _map(left, comparison, grid, final, "viridis", least_span=0.02)
        _map(right, comparison, grid, _fall, "magma_r", least_span=0.1)
        set_title(figure, left, comparison.plan.title, f"final {comparison.measure} ({comparison.spread})")
        right.set_title("fall from the best round", fontsize=11, color=PALE)


def _fall(run: CellResult) -> float | None:
    """Best accuracy of a complete run's rounds minus its last one: 0 where training is stable."""
    return max(point.strict for point in run.points) - final(run) if run.diverged_round is None else None


def _map(axes: Axes, comparison: Comparison, grid: Grid, read: Read, colours: str, least_span: float) -> None:
    """One map of a figure; none is grey; `least_span` of the colours keeps noise from being painted as a difference."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    table = [[grid_name(column, row) for column in grid.columns.options] for row in grid.rows.options]
    found = [[comparison.over(variant, read) for variant in line] for line in table]
    values = np.ma.masked_invalid([[math.nan if one is None else one.mean for one in line] for line in found])
    low, high = (float(values.min()), float(values.max())) if values.count() else (0.0, 0.0)
    palette, high = colormaps[colours].with_extremes(bad=_NO_VALUE), max(high, low + least_span)
    image = axes.imshow(values, cmap=palette, vmin=low, vmax=high, aspect="auto")
    shades = image.to_rgba(values)
    for y, x in np.ndindex(values.shape):
        diverged, value = comparison.diverged(table[y][x]), values[y, x]
        ink = "white" if np.dot(shades[y, x, :3], (0.299, 0.587, 0.114)) < _DARK else "black"
        text = "" if value is np.ma.masked else f"{value:.3f}"
        lines = [text]
        if diverged:
            several = f"{len(diverged)} of {len(comparison.plan.seeds)} " if len(comparison.plan.seeds) > 1 else ""
            lines += [f"{several}diverged", f"in round {min(diverged.values())}"]
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="//", edgecolor=ink, lw=0, alpha=0.3))
        axes.text(x, y, "\n".join(filter(None, lines)), ha="center", va="center", color=ink, fontsize=10)
    axes.set_xticks(range(len(grid.columns.options)), [*grid.columns.options])
    axes.set_yticks(range(len(grid.rows.options)), [*grid.rows.options])
    axes.set(xlabel=grid.columns.label or "", ylabel=grid.rows.label or "")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(image, ax=axes, shrink=0.9)
