"""Running the cells of a comparison, several at once, until all are complete or have diverged."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence

from advantageflow.settings import RunSettings
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.children import Child, end_children, start_child
from advantageflow_experiments.compare.folder import Folder
from advantageflow_experiments.compare.outcome import read_result
from advantageflow_experiments.compare.progress import CompareProgress
from advantageflow_experiments.compare.records import CellResult
from advantageflow_pipelines.local.failures import RunFailed

_INTERVAL = 0.25  # seconds between two looks at the processes
_BY_USER = 2  # exit status of a command after a user's mistake


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of(settings: RunSettings) -> int:
    """CPU threads that a run keeps busy at its busiest."""
    rollout = settings.rollout
    return max(settings.training.threads, rollout.shards * rollout.threads, settings.evaluation.threads)


def default_jobs(cells: Sequence[Cell], available: int) -> int:
    """How many runs at once keep all cores busy and none in want."""
    return max(1, min(len(cells), available // max(threads_of(cell.settings) for cell in cells)))


def run_cells(folder: Folder, cells: Sequence[Cell], jobs: int, progress: CompareProgress) -> list[CellResult]:
    """Run what is not settled yet, `jobs` cells at once.

    Args:
        folder: the comparison's.
        cells: all of them, in order.
        jobs: runs at once.
        progress: shows them.

    Returns:
        The result of every cell, in the same order.

    Raises:
        RunFailed: a run failed for another reason than divergence; the others have been ended, all is kept.
        KeyboardInterrupt: all that was started has been ended.
    """
    found = {cell.name: read_result(folder.workdir(cell), cell) for cell in cells}
    results = {name: result for name, result in found.items() if result is not None}
    waiting = deque(cell for cell in cells if cell.name not in results)
    progress.kept(list(results.values()))
    running: list[Child] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(start_child(folder, waiting.popleft()))
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                results[child.cell.name] = result = _judge(folder, child)
                progress.finished(result)
            progress.update(running)
            time.sleep(_INTERVAL)
    finally:
        if running:
            progress.stopping(running)
            end_children(running)
    return [results[cell.name] for cell in cells]


def _judge(folder: Folder, child: Child) -> CellResult:
    """The result of a run that ended.

    Raises:
        RunFailed: it neither came to its end nor diverged.
    """
    result = read_result(folder.workdir(child.cell), child.cell)
    if result is not None:
        return result
    report = (
        f"{child.cell.name}: {child.error()}\n"
        f"The comparison was stopped; what is complete is kept. Log of this run: {child.log}\n"
        f"Continue with: advantageflow compare --resume {folder.root}"
    )
    raise RunFailed(report, by_user=child.process.returncode == _BY_USER)
