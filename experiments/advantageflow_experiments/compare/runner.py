"""Running the cells of a comparison, several at once, until all are complete or have diverged."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress, TaskID

from advantageflow.settings import RunSettings
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.children import Child, end_children, start_child
from advantageflow_experiments.compare.comparison import CellResult
from advantageflow_experiments.compare.folder import Folder
from advantageflow_experiments.compare.outcome import read_result
from advantageflow_experiments.compare.progress import describe, rounds_done, time_left
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


def run_cells(console: Console, folder: Folder, cells: Sequence[Cell], jobs: int) -> list[CellResult]:
    """Run what is not settled yet, `jobs` cells at once; a line for each run that ended, on a terminal also bars.

    Args:
        console: where progress is shown.
        folder: the comparison's.
        cells: all of them, in order.
        jobs: runs at once.

    Returns:
        The result of every cell, in the same order.

    Raises:
        RunFailed: a run failed for another reason than divergence; the others have been ended, all is kept.
        KeyboardInterrupt: all that was started has been ended.
    """
    found = {cell.name: read_result(folder.workdir(cell), cell) for cell in cells}
    results = {name: result for name, result in found.items() if result is not None}
    waiting = deque(cell for cell in cells if cell.name not in results)
    running: dict[TaskID, Child] = {}  # by its bar
    with Progress(console=console, transient=True, disable=not console.is_terminal) as live:
        if results:
            _say(live, f"{len(results)} of {len(cells)} runs are there from before")
        overall = live.add_task("comparison", total=len(cells), completed=len(results))
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.popleft()
                    running[live.add_task(cell.name, total=cell.settings.rounds)] = start_child(folder, cell)
                time.sleep(_INTERVAL)
                for bar, child in list(running.items()):
                    live.update(bar, completed=rounds_done(folder.workdir(child.cell)))
                    if child.process.poll() is None:
                        continue
                    del running[bar]
                    live.remove_task(bar)
                    results[child.cell.name] = result = _judge(folder, child)
                    live.update(overall, completed=len(results))
                    left = time_left(list(results.values()), len(cells), jobs)
                    _say(live, f"{len(results)}/{len(cells)} {describe(result)}{left}")
        finally:
            if running:
                _say(live, f"stopping {', '.join(child.cell.name for child in running.values())}")
                end_children(list(running.values()))
    return [results[cell.name] for cell in cells]


def _say(live: Progress, text: str) -> None:
    live.console.print(f"{time.strftime('%H:%M:%S')}  {text}", highlight=False, markup=False, soft_wrap=True)


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
