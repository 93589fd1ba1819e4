"""Which pictures and tables a comparison gets, by what its plan asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from advantageflow_experiments.compare.bars import draw_tasks
from advantageflow_experiments.compare.comparison import Comparison
from advantageflow_experiments.compare.heatmap import draw_heatmap
from advantageflow_experiments.compare.lines import draw_by_images, draw_by_seconds
from advantageflow_experiments.compare.pareto import draw_pareto
from advantageflow_experiments.compare.table import write_tables

_Pictures = dict[str, Callable[[Comparison, Path], None]]

_LINES: _Pictures = {
    "accuracy_by_images.png": draw_by_images,
    "accuracy_by_seconds.png": draw_by_seconds,
    "tasks.png": draw_tasks,
}


def draw(comparison: Comparison, folder: Path) -> list[Path]:
    """Write table.md and the pictures into a folder; returns what was written, the table first.

    Raises:
        StoreError: a file cannot be written.
    """
    pictures = _LINES
    if comparison.plan.grid:
        pictures = {"heatmap.png": draw_heatmap}
    elif comparison.plan.pareto:
        pictures = {"pareto.png": draw_pareto}
    table = folder / "table.md"
    write_tables(table, comparison)
    for name, draw_one in pictures.items():
        draw_one(comparison, folder / name)
    return [table, *(folder / name for name in pictures)]
