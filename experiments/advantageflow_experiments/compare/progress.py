"""How a comparison shows itself while it goes: a line for each run that ended; on a terminal also bars."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from advantageflow_experiments.compare.cells import cell_name
from advantageflow_experiments.compare.children import Child
from advantageflow_experiments.compare.folder import Folder
from advantageflow_experiments.compare.records import CellResult


class CompareProgress:
    """Shows the runs of a comparison: `with CompareProgress(...) as progress:` around run_cells.

    Args:
        console: where it is shown.
        folder: the comparison's.
        total: number of cells.
        jobs: runs at once.
    """

    def __init__(self, console: Console, folder: Folder, total: int, jobs: int) -> None:
        self._console = console
        self._folder = folder
        self._total = total
        self._jobs = jobs
        self._done = 0
        self._seconds: list[float] = []  # of the runs that are complete
        self._running: Sequence[Child] = ()
        self._started = time.monotonic()
        self._bars: dict[str, TaskID] = {}
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._all = self._live.add_task("comparison", total=total, unit="runs")

    def __enter__(self) -> CompareProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def kept(self, results: Sequence[CellResult]) -> None:
        """Take in what an earlier attempt had done already."""
        self._done = len(results)
        self._seconds = [result.seconds for result in results if result.status == "complete"]
        self._live.update(self._all, completed=self._done)
        if results:
            self._line(f"{self._done} of {self._total} runs are there from before")

    def finished(self, result: CellResult) -> None:
        """Show what a run came to, and how long the others may take."""
        self._done += 1
        if result.status == "complete":
            self._seconds.append(result.seconds)
        bar = self._bars.pop(cell_name(result.variant, result.seed), None)
        if bar is not None:
            self._live.remove_task(bar)
        self._live.update(self._all, completed=self._done)
        self._line(f"{self._done}/{self._total} {describe(result)}{self._left()}")

    def update(self, running: Sequence[Child]) -> None:
        """Move the bars of what runs."""
        self._running = running
        if self._live.disable:
            return
        for child in running:
            name, settings = child.cell.name, child.cell.settings
            if name not in self._bars:
                self._bars[name] = self._live.add_task(name, total=settings.rounds, unit="rounds")
            self._live.update(self._bars[name], completed=self._rounds_done(child))

    def stopping(self, running: Sequence[Child]) -> None:
        """Say that what still runs is being ended."""
        self._line(f"stopping {', '.join(child.cell.name for child in running)}")

    def _rounds_done(self, child: Child) -> int:
        """Rounds before the one whose rollouts are being made."""
        journal = self._folder.workdir(child.cell).journal
        numbers = [int(path.name.split("-")[1][1:]) for path in journal.glob("rollout-r*.jsonl")]
        return max(numbers, default=1) - 1

    def _left(self) -> str:
        """An estimate of the time left: the runs still to be done take as long as those before."""
        remaining = self._total - self._done
        if not remaining or not self._seconds:
            return ""
        mean = sum(self._seconds) / len(self._seconds)
        begun = [child.elapsed for child in self._running if child.process.poll() is None]
        work = mean * (remaining - len(begun)) + sum(max(0.0, mean - elapsed) for elapsed in begun)
        return f"; about {duration(work / min(self._jobs, remaining))} left"

    def _line(self, text: str) -> None:
        elapsed = int(time.monotonic() - self._started)
        stamp = f"{elapsed // 60:3d}:{elapsed % 60:02d}"
        self._live.console.print(f"[dim]{stamp}[/dim]  {text}", highlight=False, soft_wrap=True)


def describe(result: CellResult) -> str:
    """A run's outcome in a line, such as 'awm, seed 1: accuracy 0.423 -> 0.612, 187 s'."""
    base, last = result.points[0], result.last
    name = f"{result.variant}, seed {result.seed}"
    change = f"accuracy {base.strict:.3f} -> {last.strict:.3f}"
    if result.status == "diverged":
        return f"{name}: [red]diverged in round {result.diverged_round}[/red]; {change} after round {last.round}"
    return f"{name}: {change}, {result.seconds:.0f} s"


def duration(seconds: float) -> str:
    """A time that a person can plan with, such as '25 min'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 120 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
