"""A grid of two settings as heat maps: the accuracy that was reached, and how far runs fell from their best round."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow_experiments.compare.comparison import CellResult, Comparison, Read, final
from advantageflow_experiments.compare.plan import Grid, grid_name
from advantageflow_experiments.compare.style import PALE, picture, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    import numpy as np
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
