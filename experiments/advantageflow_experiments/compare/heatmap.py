"""A grid of two settings as heat maps: the accuracy that was reached, and how far runs fell from their best round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow_experiments.compare.comparison import Comparison, VariantResult
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
        variants = {variant.name: variant for variant in comparison.variants}
        _map(left, grid, variants, lambda variant: variant.final.mean, "viridis", least_span=0.02)
        _map(right, grid, variants, lambda variant: _fall(comparison, variant), "magma_r", least_span=0.1)
        set_title(figure, left, comparison.plan.title, f"final {comparison.measure} ({comparison.spread})")
        right.set_title("fall from the best round", fontsize=11, color=PALE)


def _fall(comparison: Comparison, variant: VariantResult) -> float:
    """Best accuracy of a run's rounds minus its last one, mean over its complete runs: 0 where training is stable."""
    cells = [cell for cell in comparison.cells_of(variant.name) if cell.diverged_round is None]
    falls = [max(point.strict for point in cell.points) - cell.last.strict for cell in cells]
    return sum(falls) / len(falls) if falls else float("nan")


def _map(
    axes: Axes,
    grid: Grid,
    variants: dict[str, VariantResult],
    value_of: Callable[[VariantResult], float],
    colours: str,
    least_span: float,
) -> None:
    """One map of `value_of`; not a number is grey; `least_span` of the colours keeps noise from being painted."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    table = [[variants[grid_name(column, row)] for column in grid.columns.options] for row in grid.rows.options]
    values = np.ma.masked_invalid([[value_of(variant) for variant in line] for line in table])
    low, high = (float(values.min()), float(values.max())) if values.count() else (0.0, 0.0)
    palette, high = colormaps[colours].with_extremes(bad=_NO_VALUE), max(high, low + least_span)
    image = axes.imshow(values, cmap=palette, vmin=low, vmax=high, aspect="auto")
    shades = image.to_rgba(values)
    for y, x in np.ndindex(values.shape):
        variant, value = table[y][x], values[y, x]
        ink = "white" if np.dot(shades[y, x, :3], (0.299, 0.587, 0.114)) < _DARK else "black"
        text = "" if value is np.ma.masked else f"{value:.3f}"
        axes.text(x, y, "\n".join(filter(None, [text, *_divergence(variant)])), ha="center", va="center", color=ink,
                  fontsize=10)  # fmt: skip
        if variant.diverged:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="//", edgecolor=ink, lw=0, alpha=0.3))
    axes.set_xticks(range(len(grid.columns.options)), [*grid.columns.options])
    axes.set_yticks(range(len(grid.rows.options)), [*grid.rows.options])
    axes.set(xlabel=grid.columns.label or "", ylabel=grid.rows.label or "")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(image, ax=axes, shrink=0.9)


def _divergence(variant: VariantResult) -> list[str]:
    """Lines such as '1 of 3 diverged', 'in round 4'; none if no run did."""
    if not variant.diverged:
        return []
    several = f"{len(variant.diverged)} of {variant.final.count} " if variant.final.count > 1 else ""
    return [f"{several}diverged", f"in round {min(variant.diverged.values())}"]
