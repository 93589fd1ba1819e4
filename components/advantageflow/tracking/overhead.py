"""Overhead of a run: from the start of each task's process to its first useful work, along the critical path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from advantageflow.tracking.events import Event


@dataclass(frozen=True)
class TaskTimes:
    """When one task ran.

    Attributes:
        started: epoch seconds when its process started.
        useful: when its first useful work began, after imports and loading; its end if it never said so.
        ended: when its work was done.
    """

    stage: str
    round: int | None
    shard: int | None
    started: float
    useful: float
    ended: float

    @property
    def overhead(self) -> float:
        """Seconds from process start to first useful work."""
        return self.useful - self.started


def finished_tasks(events: Iterable[Event]) -> list[TaskTimes]:
    """The tasks of a run's journal that finished, in order of start."""
    by_task: dict[str, dict[str, Event]] = {}
    for event in events:
        by_task.setdefault(event["task"], {}).setdefault(event["event"], event)
    tasks = [
        TaskTimes(
            stage=seen["start"]["stage"],
            round=seen["start"]["round"],
            shard=seen["start"]["shard"],
            started=seen["start"]["process_started"],
            useful=seen.get("useful", seen["end"])["time"],
            ended=seen["end"]["time"],
        )
        for seen in by_task.values()
        if "start" in seen and "end" in seen
    ]
    return sorted(tasks, key=lambda task: task.started)


def critical_path(tasks: Sequence[TaskTimes]) -> list[TaskTimes]:
    """The tasks that a run waited for, in order: of shards that ran side by side, one.

    It is walked back from the task that ended last: each task waited for the one that had ended last when it started.
    """
    path: list[TaskTimes] = []
    current = max(tasks, key=lambda task: task.ended, default=None)
    while current is not None:
        path.insert(0, current)
        before = [task for task in tasks if task.ended <= path[0].started]
        current = max(before, key=lambda task: task.ended, default=None)
    return path
