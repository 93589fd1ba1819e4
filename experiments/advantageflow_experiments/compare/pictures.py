"""Which pictures and tables a comparison gets, by the view of its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from advantageflow_experiments.compare.bars import draw_tasks
from advantageflow_experiments.compare.folder import Folder
from advantageflow_experiments.compare.heatmap import draw_heatmap
from advantageflow_experiments.compare.lines import draw_by_images, draw_by_seconds
from advantageflow_experiments.compare.pareto import draw_pareto
from advantageflow_experiments.compare.records import Comparison
from advantageflow_experiments.compare.table import write_tables

_PICTURES: dict[str, dict[str, Callable[[Comparison, Path], None]]] = {
    "lines": {
        "accuracy_by_images.png": draw_by_images,
        "accuracy_by_seconds.png": draw_by_seconds,
        "tasks.png": draw_tasks,
    },
    "heatmap": {"heatmap.png": draw_heatmap},
    "pareto": {"pareto.png": draw_pareto},
}


def draw(comparison: Comparison, folder: Folder) -> list[Path]:
    """Write table.md and the pictures; returns what was written, the table first.

    Raises:
        StoreError: a file cannot be written.
    """
    write_tables(folder.table_file, comparison)
    written = [folder.table_file]
    for name, draw_one in _PICTURES[comparison.view].items():
        draw_one(comparison, folder.root / name)
        written.append(folder.root / name)
    return written
