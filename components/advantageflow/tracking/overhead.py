"""Overhead of a run: from the start of each task's process to its first useful work, along the critical path."""

from __future__ import annotations

from collections.abc import Iterable
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

    task: str
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


@dataclass(frozen=True)
class Overhead:
    """Overhead of a run.

    Attributes:
        seconds: summed over the critical path.
        tasks: every finished task, in order of start.
        critical: the tasks of the critical path, in order.
    """

    seconds: float
    tasks: tuple[TaskTimes, ...]
    critical: tuple[TaskTimes, ...]

    def by_stage(self) -> dict[str, float]:
        """Seconds of overhead on the critical path by stage."""
        totals: dict[str, float] = {}
        for task in self.critical:
            totals[task.stage] = totals.get(task.stage, 0.0) + task.overhead
        return totals


def overhead(events: Iterable[Event]) -> Overhead:
    """Measure the overhead from a run's journal events; tasks that did not finish are left out.

    The critical path is walked back from the task that ended last: each task waited for the one that had ended last
    when it started. Tasks in sequence add up; of shards that ran side by side one counts.
    """
    tasks = sorted(_finished(events), key=lambda task: task.started)
    path: list[TaskTimes] = []
    current = max(tasks, key=lambda task: task.ended, default=None)
    while current is not None:
        path.append(current)
        began = current.started
        before = [task for task in tasks if task.ended <= began]
        current = max(before, key=lambda task: task.ended, default=None)
    path.reverse()
    return Overhead(sum(task.overhead for task in path), tuple(tasks), tuple(path))


def _finished(events: Iterable[Event]) -> list[TaskTimes]:
    by_task: dict[str, dict[str, Event]] = {}
    for event in events:
        by_task.setdefault(event["task"], {}).setdefault(event["event"], event)
    return [
        TaskTimes(
            task=task,
            stage=seen["start"]["stage"],
            round=seen["start"]["round"],
            shard=seen["start"]["shard"],
            started=seen["start"]["process_started"],
            useful=seen.get("useful", seen["end"])["time"],
            ended=seen["end"]["time"],
        )
        for task, seen in by_task.items()
        if "start" in seen and "end" in seen
    ]
