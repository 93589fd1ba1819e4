"""The stage tasks of a run as their journal events tell of them: what runs, since when, how far, how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from advantageflow.tracking.events import Event

FROM_CACHE, CANCELLED = "from the cache", "cancelled"


@dataclass
class Task:
    """One stage task; times are epoch seconds.

    Attributes:
        round_index: the round it belongs to; None before round 1.
        started: when its process started.
        useful: when its first useful work began, after imports and loading; None until it says so.
        ended: when it ended; None while it runs.
        done, total, unit: how far it is; total 0 until it says so.
        error: its error event, if it failed.
        settings: by section, as its start tells.
        cost: what its end tells of seconds, memory and bytes.
        attempt: which try it is, from 1 on.
        how: it ended, where that was not by its own work: FROM_CACHE or CANCELLED.
    """

    task_id: str
    stage: str
    round_index: int | None
    shard: int | None
    started: float
    useful: float | None = None
    ended: float | None = None
    done: int = 0
    total: int = 0
    unit: str = ""
    error: Event | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    how: str = ""

    @property
    def name(self) -> str:
        """What a person calls it, such as 'round 3 rollout, shard 2'."""
        words = f"round {self.round_index} {self.stage}" if self.round_index else self.stage
        if self.round_index == 0:
            words = f"{self.stage} of the base"
        return words if self.shard is None else f"{words}, shard {self.shard + 1}"


class Tasks:
    """The tasks of a run by id, kept up to date event by event."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._tasks: dict[str, Task] = {}
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> Task | None:
        """Take an event in; returns its task, or None if the task is unknown (its start was not seen)."""
        name = event["event"]
        if name == "start":
            self._tasks[event["task"]] = Task(
                event["task"],
                event["stage"],
                event["round"],
                event["shard"],
                started=event["process_started"],
                settings=event.get("settings") or {},
            )
        task = self._tasks.get(event["task"])
        if task is None:
            return None
        if name == "useful" and task.useful is None:
            task.useful = event["time"]
        elif name == "progress":
            task.done, task.total, task.unit = event["done"], event["total"], event["unit"]
        elif name == "end":
            task.ended, task.cost = event["time"], event
        elif name == "error" and task.error is None:
            task.ended, task.error = event["time"], event
            task.how = CANCELLED if event.get("kind") == "KeyboardInterrupt" else ""
        return task

    def finished(self) -> list[Task]:
        """Tasks that came to a good end, in order of their ends."""
        done = [task for task in self._tasks.values() if task.ended is not None and task.error is None]
        return sorted(done, key=lambda task: task.ended or 0.0)

    def failed(self) -> list[Task]:
        """Tasks that failed, in order."""
        return [task for task in self._tasks.values() if task.error is not None]

    def running(self) -> list[Task]:
        """Tasks that have not ended."""
        return [task for task in self._tasks.values() if task.ended is None]
