"""The stage tasks of a run as their journal tells: what runs, since when, how far, how it ended, why a run stopped."""

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advantageflow.errors import StoreError, UserError
from advantageflow.tracking.events import Event
from advantageflow_pipelines.local.workdir import WorkDir

FROM_CACHE, CANCELLED = "from the cache", "cancelled"


@dataclass
class Task:
    """One stage task; times are epoch seconds."""

    task_id: str
    stage: str
    round_index: int | None  # the round it belongs to; None before round 1
    shard: int | None
    started: float  # when its process started
    useful: float | None = None  # when its first useful work began, after imports and loading; None until it says so
    ended: float | None = None  # when it ended; None while it runs
    done: int = 0  # how far it is; total 0 until it says so
    total: int = 0
    unit: str = ""
    error: Event | None = None  # its error event, if it failed
    settings: Mapping[str, Any] = field(default_factory=dict)  # by section, as its start tells
    cost: Mapping[str, Any] = field(default_factory=dict)  # what its end tells of seconds, memory and bytes
    attempt: int = 1  # which try it is, from 1 on
    how: str = ""  # it ended, where that was not by its own work: FROM_CACHE or CANCELLED

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


_LINES_OF_LOG = 25
_FULL = 1_000_000  # bytes
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class RunFailed(Exception):
    """A run that did not come to its end.

    Args:
        report: what a person needs to read.
        by_user: whether a user's mistake caused it (exit status 2).
    """

    def __init__(self, report: str, *, by_user: bool) -> None:
        super().__init__(report)
        self.by_user = by_user


def explain_failure(workdir: WorkDir, tasks: Tasks) -> RunFailed:
    """The failure of a run whose pipeline ended with an error.

    A task that recorded an error says it itself; else the end of the log has to do (a task killed outright, Kubeflow
    itself failing), unless a full disk explains it.
    """
    resume = f"Nothing complete is lost. Continue with: advantageflow run --resume {_shown(workdir.root)}"
    failed = tasks.failed()
    if failed:
        event = failed[0].error or {}
        report = f"{failed[0].name} failed.\n{_own_words(event)}\n{resume}"
        return RunFailed(report, by_user=not event.get("traceback"))
    if shutil.disk_usage(workdir.root).free < _FULL:  # then journal and log are cut short too
        full = StoreError("the disk is full", where=str(workdir.root), remedy="free some space there")
        return RunFailed(f"{full}\n{resume}", by_user=True)
    names = ", ".join(task.name for task in tasks.running())
    what = f"{names} ended without a word (killed, or out of memory)." if names else "The pipeline failed."
    return RunFailed(f"{what} The end of {workdir.log_file}:\n{log_tail(workdir.log_file)}\n{resume}", by_user=False)


def log_tail(path: Path, lines: int = _LINES_OF_LOG) -> str:
    """The last lines of a log that say something, colours removed."""
    text = _COLOURS.sub("", path.read_text(encoding="utf-8", errors="replace")) if path.exists() else ""
    telling = [line.rstrip() for line in text.splitlines() if line.strip(" -")]
    return "\n".join(f"  {line}" for line in telling[-lines:])


def _own_words(event: Event) -> str:
    """What the stage recorded: place, message, remedy; the traceback of what was no user's mistake."""
    if event.get("traceback"):
        return str(event["traceback"]).rstrip()
    return str(UserError(event["message"], where=event["where"], remedy=event["remedy"]))


def _shown(path: Path) -> Path:
    """Relative to the current folder where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
