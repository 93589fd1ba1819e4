"""A grid of two settings as heat maps: the accuracy that was reached, and how far runs fell from their best round."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow_experiments.compare.plan import Axis, grid_name
from advantageflow_experiments.compare.records import Comparison, VariantResult
from advantageflow_experiments.compare.style import PALE, picture, set_title

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK = 0.55  # luminance below which white type is read better than black
_NO_VALUE = "#d8dee4"


def draw_heatmap(comparison: Comparison, path: Path) -> None:
    """Draw both maps side by side; a cell of which runs diverged is hatched and says so.

    Args:
        comparison: of a grid.
        path: PNG file to write.
    """
    grid = comparison.grid
    assert grid is not None
    columns, rows = len(grid.columns.choices()), len(grid.rows.choices())
    seeds = "one seed" if len(comparison.seeds) == 1 else f"mean of {len(comparison.seeds)} seeds"
    names = 0.16 * max(map(len, grid.rows.choices()))  # inches beside both maps
    with picture(path, 2.2 + 1.9 * columns + names, 1.7 + 0.75 * rows) as figure:
        left, right = figure.subplots(1, 2)
        _map(figure, left, comparison, lambda v: v.final.mean, "viridis", least_span=0.02)
        _map(figure, right, comparison, lambda v: _fall(comparison, v), "magma_r", least_span=0.1)
        set_title(figure, left, comparison.title, f"final {comparison.measure} ({seeds})")
        right.set_title("fall from the best round", fontsize=11, fontweight="normal", color=PALE)


def _fall(comparison: Comparison, variant: VariantResult) -> float | None:
    """Best accuracy of a run's rounds minus its last one, mean over its complete runs: 0 where training is stable."""
    cells = [cell for cell in comparison.cells_of(variant.name) if cell.status == "complete"]
    falls = [max(point.strict for point in cell.points) - cell.last.strict for cell in cells]
    return sum(falls) / len(falls) if falls else None


def _map(
    figure: Figure,
    axes: Axes,
    comparison: Comparison,
    value_of: Callable[[VariantResult], float | None],
    colours: str,
    least_span: float,
) -> None:
    """One map; a cell without a value is grey.

    Args:
        value_of: what a cell shows.
        least_span: of the colour scale, lest noise be painted as a difference.
    """
    import numpy as np
    from matplotlib import colormaps

    grid = comparison.grid
    assert grid is not None
    variants = {variant.name: variant for variant in comparison.variants}
    names = [[grid_name(grid, column, row) for column in grid.columns.choices()] for row in grid.rows.choices()]
    table = [[variants[name] for name in line] for line in names]
    values = [[value_of(variant) for variant in line] for line in table]
    known = [value for line in values for value in line if value is not None] or [0.0]
    low, high = min(known), max(known)
    numbers = np.array([[math.nan if value is None else value for value in line] for line in values])
    image = axes.imshow(
        numbers,
        cmap=colormaps[colours].with_extremes(bad=_NO_VALUE), vmin=low, vmax=max(high, low + least_span), aspect="auto",
    )  # fmt: skip
    shades = image.to_rgba(numbers)
    for y, line in enumerate(table):
        for x, variant in enumerate(line):
            _fill(axes, x, y, variant, values[y][x], shades[y, x])
    _axis(axes.set_xticks, axes.set_xlabel, grid.columns)
    _axis(axes.set_yticks, axes.set_ylabel, grid.rows)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.9)


def _fill(axes: Axes, x: int, y: int, variant: VariantResult, value: float | None, shade: np.ndarray) -> None:
    """The value in its cell; hatching, and the round where a run diverged."""
    from matplotlib.patches import Rectangle

    red, green, blue = shade[:3]
    ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < _DARK else "black"
    lines = [] if value is None else [f"{value:.3f}"]
    if variant.diverged:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="//", edgecolor=ink, lw=0, alpha=0.3))
        several = f"{len(variant.diverged)} of {variant.final.count} " if variant.final.count > 1 else ""
        lines += [f"{several}diverged", f"in round {min(variant.diverged.values())}"]
    height = 0.24  # of a line, where a cell is 1 high
    for number, line in enumerate(lines):
        place = y + height * (number - (len(lines) - 1) / 2)
        size, weight = (11, "bold") if line[0].isdigit() and not number else (9, "normal")
        axes.text(x, place, line, ha="center", va="center", color=ink, fontsize=size, fontweight=weight)


def _axis(set_ticks: Callable[..., Any], set_label: Callable[[str], Any], axis: Axis) -> None:
    choices = axis.choices()
    set_ticks(range(len(choices)), list(choices))
    set_label(axis.label or axis.key or "")
