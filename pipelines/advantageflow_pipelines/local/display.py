"""How the tasks of a run are shown while it goes, here or on a cluster: live bars on a terminal, lines elsewhere."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from advantageflow.evaluation.labels import headline
from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event, tail
from advantageflow_pipelines.local.tasks import CANCELLED, Task, Tasks
from advantageflow_pipelines.pipelines import pipeline_of

REMIND_SECONDS = 60.0  # between two lines of how far a task is, where there are no bars


class TaskDisplay:
    """Shows tasks: `with TaskDisplay(...) as display: display.update(task)` whenever something of it has changed.

    On a terminal a bar for each task that runs; elsewhere a line for each task that ended, and one a minute of how far
    it is. A task that failed, and one that is tried again, is a line in both; so is a round with what came of it.

    The run `started` at these epoch seconds; `rounds` is 0 where it is not known.
    """

    def __init__(self, console: Console, started: float, rounds: int = 0) -> None:
        self._console = console
        self._started = self._round_started = started
        self._rounds = rounds
        self._bars: dict[str, TaskID] = {}
        self._told: dict[str, tuple[int, bool]] = {}  # by task: the attempt, and whether its end was shown
        self._reminded: dict[str, float] = {}
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not (console.is_terminal or console.is_jupyter),
        )
        self._all_rounds = self._live.add_task("rounds", total=rounds or None, unit="")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Draw no bars any more; lines are still written."""
        self._live.stop()

    def update(self, task: Task, result: str | None = None) -> None:
        """Show what is new of a task; `result` is what came of its round, if it ends one."""
        attempt, over = self._told.get(task.task_id, (1, False))
        if task.attempt > attempt:
            over = False
            self.line(f"{task.name}: attempt {task.attempt}", "yellow", task.ended)
        if task.ended is None:
            self._show_bar(task)
        elif not over:
            if (bar := self._bars.pop(task.task_id, None)) is not None:
                self._live.remove_task(bar)
            self._show_end(task, result)
        self._told[task.task_id] = (task.attempt, task.ended is not None)

    def forget(self) -> None:
        """Show none of the tasks as running any more: nobody knows how they are."""
        for bar in self._bars.values():
            self._live.remove_task(bar)
        self._bars.clear()

    def line(self, text: str, style: str = "", at: float | None = None) -> None:
        """A line that stays, of a moment in epoch seconds (now if None)."""
        elapsed = max(0, int((at or time.time()) - self._started))
        when = (f"{elapsed // 60:3d}:{elapsed % 60:02d}", "dim")
        self._live.console.print(Text.assemble(when, "  ", (text, style)), highlight=False, soft_wrap=True)

    def _show_bar(self, task: Task) -> None:
        if task.task_id not in self._bars:
            self._bars[task.task_id] = self._live.add_task(task.name, total=None, unit="")
        self._live.update(
            self._bars[task.task_id], completed=task.done, total=task.total or None, unit=task.unit, refresh=False
        )
        now = time.monotonic()
        if not self._console.is_terminal and now - self._reminded.setdefault(task.task_id, now) >= REMIND_SECONDS:
            self._reminded[task.task_id] = now
            how_far = f"{task.done} of {task.total} {task.unit}" if task.total else "runs"
            self.line(f"{task.name}: {how_far}")

    def _show_end(self, task: Task, result: str | None) -> None:
        at = task.ended or task.started
        if task.how == CANCELLED:
            self.line(f"{task.name}: {CANCELLED}", "yellow", at)
        elif task.error is not None:
            self.line(f"{task.name} failed", "red", at)
        elif not self._console.is_terminal or task.how:
            self.line(f"{task.name}: {task.how or f'{max(0.0, at - task.started):.1f} s'}", at=at)
        if result is not None and task.error is None:
            self._show_round(task.round_index or 0, result, at)

    def _show_round(self, number: int, result: str, at: float) -> None:
        name = f"round {number}/{self._rounds}" if number and self._rounds else f"round {number}" if number else "base"
        self.line(f"{name}: {result}, {max(0, at - self._round_started):.0f} s", "bold", at)
        self._round_started = at
        self._live.update(self._all_rounds, completed=number)


class RunProgress(TaskDisplay):
    """Shows a run by its journal events: `with RunProgress(...) as progress: progress.show(event)`.

    Beside what is shown of each task, one line for each round: accuracy and reward on held-out prompts (of a round that
    is not evaluated, the reward of its rollouts), and its seconds. `read_report` gives the metrics of a round's
    evaluation; `earlier` are the ids of the tasks of earlier attempts.
    """

    def __init__(
        self,
        console: Console,
        settings: RunSettings,
        read_report: Callable[[int], dict[str, Any]],
        started: float,
        earlier: Collection[str] = (),
    ) -> None:
        self._pipeline = pipeline_of(settings)
        self._evaluated = [evaluation.round_index for evaluation in self._pipeline.evaluations(settings)]
        super().__init__(console, started, rounds=self._evaluated[-1])
        self._reward = f"reward/{settings.reward.column}_mean"
        self._rewards: dict[int, float] = {}  # of the rollouts, by round
        self._read_report, self._earlier = read_report, earlier
        self.tasks = Tasks()  # those seen so far

    @contextlib.contextmanager
    def following(self, journal: Path) -> Iterator[None]:
        """Show what the run's tasks tell the journal, from a thread beside the block."""
        stop = threading.Event()

        def follow() -> None:
            for event in tail(journal, stop):
                if event["task"] not in self._earlier:
                    self.show(event)

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        with self:
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()

    def show(self, event: Event) -> None:
        """Take in one event and show what it changes."""
        task = self.tasks.apply(event)
        if task is None:
            return
        if event["event"] == "metrics" and self._reward in event["values"]:
            self._rewards[task.round_index or 0] = event["values"][self._reward]
        if event["event"] == "alarm":
            self.line(f"alarm: {event['message']}", "bold red")
        if event["event"] == "warning":
            self.line(f"warning: {event['message']}", "yellow")
        ended = event["event"] == "end"
        self.update(task, self._result(task) if ended else None)

    def _result(self, task: Task) -> str | None:
        """What came of the round that the task ends; None if it ends none."""
        number = task.round_index
        if number is not None and task.stage == self._pipeline.report.stage:
            return headline(self._read_report(number))
        policies = [output.stage for output in self._pipeline.policies]
        if number is not None and task.stage in policies and number not in self._evaluated:
            return f"reward of its rollouts {self._rewards.get(number, math.nan):.3f}"
        return None
