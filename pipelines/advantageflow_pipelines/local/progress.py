"""How a run shows itself while it goes: live bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from advantageflow.evaluation.labels import headline
from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow_pipelines.local.tasks import Task, Tasks
from advantageflow_pipelines.pipelines import pipeline_of

ReadReport = Callable[[int], dict[str, Any]]
"""The metrics of the evaluation after a round."""


class RunProgress:
    """Shows a run by its journal events: `with RunProgress(...) as progress: progress.show(event)`.

    One line for each round: accuracy and reward on held-out prompts (of a round that is not evaluated, the reward of
    its rollouts), and its seconds. On a terminal also a bar for each task that runs; elsewhere a line for each task
    that ended.

    Args:
        console: where it is shown.
        settings: of the run.
        read_report: gives the metrics of a round's evaluation.
        started: epoch seconds at which the run started.
    """

    def __init__(self, console: Console, settings: RunSettings, read_report: ReadReport, started: float) -> None:
        self._console = console
        self._pipeline = pipeline_of(settings)
        self._evaluated = [evaluation.round_index for evaluation in self._pipeline.evaluations(settings)]
        self._rounds = self._evaluated[-1]
        self._reward = f"reward/{settings.reward.column}_mean"
        self._rewards: dict[int, float] = {}  # of the rollouts, by round
        self._read_report = read_report
        self._started = started
        self._round_started = started
        self._tasks = Tasks()
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
        self._all_rounds = self._live.add_task("rounds", total=self._rounds, unit="")

    def __enter__(self) -> RunProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @property
    def tasks(self) -> Tasks:
        """The tasks seen so far."""
        return self._tasks

    def show(self, event: Event) -> None:
        """Take in one event and show what it changes."""
        task = self._tasks.apply(event)
        if task is None:
            return
        if task.ended is None:
            self._show_bar(task)
        if event["event"] == "metrics" and self._reward in event["values"]:
            self._rewards[task.round_index or 0] = event["values"][self._reward]
        if event["event"] == "alarm":
            self._line(f"[bold red]alarm: {escape(event['message'])}[/bold red]")
        if event["event"] == "warning":
            self._line(f"[yellow]warning: {escape(event['message'])}[/yellow]")
        if event["event"] in ("end", "error"):
            self._hide_bar(task)
            self._show_end(task)

    def _show_bar(self, task: Task) -> None:
        if task.task_id not in self._bars:
            self._bars[task.task_id] = self._live.add_task(task.name, total=None, unit="")
        self._live.update(
            self._bars[task.task_id], completed=task.done, total=task.total or None, unit=task.unit, refresh=False
        )

    def _hide_bar(self, task: Task) -> None:
        bar = self._bars.pop(task.task_id, None)
        if bar is not None:
            self._live.remove_task(bar)

    def _show_end(self, task: Task) -> None:
        if task.error is not None:
            self._line(f"[red]{task.name} failed[/red]")
            return
        if not self._console.is_terminal:
            self._line(f"{task.name}: {_seconds(task)}")
        number = task.round_index
        if number is None:
            return
        if task.stage == self._pipeline.report.stage:
            self._show_round(number, headline(self._read_report(number)))
        elif task.stage in [output.stage for output in self._pipeline.policies] and number not in self._evaluated:
            self._show_round(number, f"reward of its rollouts {self._rewards.get(number, math.nan):.3f}")

    def _show_round(self, number: int, result: str) -> None:
        now = time.time()
        name = f"round {number}/{self._rounds}" if number else "base"
        self._line(f"[bold]{name}: {result}, {now - self._round_started:.0f} s[/bold]")
        self._round_started = now
        self._live.update(self._all_rounds, completed=number)

    def _line(self, text: str) -> None:
        elapsed = int(time.time() - self._started)
        self._live.console.print(f"[dim]{elapsed // 60:3d}:{elapsed % 60:02d}[/dim]  {text}", highlight=False)


def _seconds(task: Task) -> str:
    return f"{(task.ended or task.started) - task.started:.1f} s"
