"""How a comparison shows itself while it goes: a line for each run that ended; on a terminal also bars."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, TaskID

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
        self._folder = folder
        self._total = total
        self._jobs = jobs
        self._done = 0
        self._seconds: list[float] = []  # of the runs that are complete
        self._started = time.monotonic()
        self._bars: dict[str, TaskID] = {}  # of the cells that run
        self._live = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._all = self._live.add_task("comparison", total=total)

    def __enter__(self) -> CompareProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def kept(self, results: Sequence[CellResult]) -> None:
        """Take in what an earlier attempt had done already."""
        for result in results:
            self._count(result)
        if results:
            self._line(f"{self._done} of {self._total} runs are there from before")

    def finished(self, result: CellResult) -> None:
        """Show what a run came to, and how long the others may take."""
        self._count(result)
        bar = self._bars.pop(cell_name(result.variant, result.seed), None)
        if bar is not None:
            self._live.remove_task(bar)
        self._line(f"{self._done}/{self._total} {describe(result)}{self._left()}")

    def update(self, running: Sequence[Child]) -> None:
        """Move the bars of what runs: the rounds before the one whose rollouts are being made."""
        for child in () if self._live.disable else running:
            name = child.cell.name
            if name not in self._bars:
                self._bars[name] = self._live.add_task(name, total=child.cell.settings.rounds)
            journals = self._folder.workdir(child.cell).journal.glob("rollout-r*.jsonl")
            begun = max((int(path.name.split("-")[1][1:]) for path in journals), default=1)
            self._live.update(self._bars[name], completed=begun - 1)

    def stopping(self, running: Sequence[Child]) -> None:
        """Say that what still runs is being ended."""
        self._line(f"stopping {', '.join(child.cell.name for child in running)}")

    def _count(self, result: CellResult) -> None:
        self._done += 1
        if result.diverged_round is None:
            self._seconds.append(result.seconds)
        self._live.update(self._all, completed=self._done)

    def _left(self) -> str:
        """An estimate of the time left: the runs still to be done take as long as those before."""
        remaining = self._total - self._done
        if not remaining or not self._seconds:
            return ""
        mean = sum(self._seconds) / len(self._seconds)
        return f"; about {_clock(mean * remaining / min(self._jobs, remaining))} left"

    def _line(self, text: str) -> None:
        stamp = _clock(time.monotonic() - self._started)
        self._live.console.print(f"[dim]{stamp}[/dim]  {text}", highlight=False, soft_wrap=True)


def describe(result: CellResult) -> str:
    """A run's outcome in a line, such as 'awm, seed 1: accuracy 0.423 -> 0.612, 187 s'."""
    base, last = result.points[0], result.last
    name = f"{result.variant}, seed {result.seed}"
    change = f"accuracy {base.strict:.3f} -> {last.strict:.3f}"
    if result.diverged_round is not None:
        return f"{name}: [red]diverged in round {result.diverged_round}[/red]; {change} after round {last.round}"
    return f"{name}: {change}, {result.seconds:.0f} s"


def _clock(seconds: float) -> str:
    """Such as '0:25:00'."""
    return str(datetime.timedelta(seconds=int(seconds)))
