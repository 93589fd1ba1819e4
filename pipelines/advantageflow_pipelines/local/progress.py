"""How a run on this machine shows itself while it goes: by the events of its journal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rich.console import Console

from advantageflow.evaluation.labels import headline
from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow_pipelines.local.display import TaskDisplay
from advantageflow_pipelines.local.tasks import Task, Tasks
from advantageflow_pipelines.pipelines import pipeline_of


class RunProgress(TaskDisplay):
    """Shows a run by its journal events: `with RunProgress(...) as progress: progress.show(event)`.

    Beside what is shown of each task, one line for each round: accuracy and reward on held-out prompts (of a round that
    is not evaluated, the reward of its rollouts), and its seconds. `read_report` gives the metrics of a round's
    evaluation.
    """

    def __init__(
        self, console: Console, settings: RunSettings, read_report: Callable[[int], dict[str, Any]], started: float
    ) -> None:
        self._pipeline = pipeline_of(settings)
        self._evaluated = [evaluation.round_index for evaluation in self._pipeline.evaluations(settings)]
        super().__init__(console, started, rounds=self._evaluated[-1])
        self._reward = f"reward/{settings.reward.column}_mean"
        self._rewards: dict[int, float] = {}  # of the rollouts, by round
        self._read_report = read_report
        self._tasks = Tasks()

    @property
    def tasks(self) -> Tasks:
        """The tasks seen so far."""
        return self._tasks

    def show(self, event: Event) -> None:
        """Take in one event and show what it changes."""
        task = self._tasks.apply(event)
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
