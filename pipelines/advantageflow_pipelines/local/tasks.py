"""The stage tasks of a run as their journal tells: what runs, how far, why a run stopped, what it cost."""

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from advantageflow.errors import StoreError, UserError
from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines import pipeline_of

_SUMMED = ("tasks", "seconds", "gpu_seconds", "bytes_read", "bytes_written")
_LARGEST = ("peak_memory", "gpu_peak_memory")
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
    on_gpus: bool = False  # whether its settings place its model there
    processes: int = 1  # of all its nodes, as its settings say
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
                **_placed(event.get("settings") or {}),
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


def useful_seconds(events: Iterable[Event], settings: RunSettings) -> dict[int, float]:
    """Seconds of useful work of each round: of its slowest shard (rollout and reward), then of its training.

    Start-up and evaluation are left out, so that the figure is what the algorithm itself costs, on any number of shards
    that run side by side. Of a task that was done twice, the later time counts.

    Args:
        events: a run's journal, of all attempts.
    """
    pipeline = pipeline_of(settings)
    spent = {
        (task.round_index, task.stage, task.shard or 0): _ended(task) - (task.useful or _ended(task))
        for task in Tasks(events).finished()
        if task.round_index is not None
    }
    ending = [output.stage for output in pipeline.policies]
    last = {number: seconds for (number, stage, _), seconds in spent.items() if stage in ending}
    shards: dict[int, dict[int, float]] = {number: {} for number in last}
    for (number, stage, shard), seconds in spent.items():
        if stage in pipeline.sharded and number in shards:
            shards[number][shard] = shards[number].get(shard, 0.0) + seconds
    return {number: max(shards[number].values(), default=0.0) + last[number] for number in sorted(last)}


def _critical_path(tasks: list[Task]) -> list[Task]:
    """The tasks that made a run as long as it was, in order.

    Walked back from the task that ended last: each task waited for the one that had ended last when it started. Tasks
    in sequence add up; of shards that ran side by side one counts.
    """
    path: list[Task] = []
    waited_for = tasks
    while waited_for:
        path.append(max(waited_for, key=_ended))
        waited_for = [task for task in tasks if _ended(task) <= path[-1].started]
    return path[::-1]


def _ended(task: Task) -> float:
    return task.started if task.ended is None else task.ended


def measure_overhead(events: Iterable[Event], started: float, ended: float) -> dict[str, Any]:
    """How much of an attempt's time was no useful work.

    Args:
        started: epoch seconds at which the attempt started; earlier tasks are left out.

    Returns:
        `seconds`: from process start to first useful work, summed over the tasks of the critical path, `stages` of it
        by stage; `between_tasks`: what no task of that path covers (start, scheduling, MLflow at the end); `share`: of
        both together in `of_seconds`, the attempt's duration.
    """
    path = _critical_path(Tasks(event for event in events if event["time"] >= started).finished())
    stages: dict[str, float] = {}
    for task in path:
        stages[task.stage] = stages.get(task.stage, 0.0) + (task.useful or _ended(task)) - task.started
    seconds, duration = sum(stages.values()), ended - started
    between = duration - sum(_ended(task) - task.started for task in path)
    return {
        "seconds": round(seconds, 2),
        "between_tasks": round(between, 2),
        "of_seconds": round(duration, 2),
        "share": round((seconds + between) / duration, 4),
        "stages": {stage: round(value, 2) for stage, value in stages.items()},
    }


def stage_costs(events: Iterable[Event]) -> dict[str, dict[str, float]]:
    """What each stage cost, and under 'total' the run: failed and repeated tasks included.

    `tasks`; `seconds` and `gpu_seconds` of all of them; `bytes_read` and `bytes_written`: artifacts; `peak_memory` and
    `gpu_peak_memory`: bytes, of the task that took most.
    """
    tasks = Tasks(events)
    costs: dict[str, dict[str, float]] = {}
    for task in (*tasks.finished(), *tasks.failed()):
        seconds = _ended(task) - task.started
        own = {**task.cost, "tasks": 1, "seconds": seconds, "gpu_seconds": seconds * _gpus(task)}
        for name in (task.stage, "total"):
            known = costs.setdefault(name, dict.fromkeys((*_SUMMED, *_LARGEST), 0))
            known |= {key: round(known[key] + own.get(key, 0), 3) for key in _SUMMED}
            known |= {key: max(known[key], own.get(key, 0)) for key in _LARGEST}
    if "total" in costs:
        costs["total"] = costs.pop("total")  # last
    return costs


def cost_table(costs: Mapping[str, Mapping[str, float]], gain: float, price: float | None) -> list[list[str]]:
    """A table for people: its head, a row for each stage, the total, and what one point (0.01) gained has cost.

    Args:
        gain: of the headline measure; nothing is told by point where it is not positive.
        price: of an hour of one GPU; None leaves money out.
    """
    money = [] if price is None else ["money"]
    table = [["stage", "tasks", "seconds", "GPU-seconds", *money, "peak memory", "of the GPU", "read", "written"]]

    def spent(one: Mapping[str, float], points: float = 1) -> list[str]:
        paid = [] if price is None else [f"{one['gpu_seconds'] / 3600 * price / points:,.2f}"]
        return [*(f"{one[key] / points:,.0f}" for key in ("seconds", "gpu_seconds")), *paid]

    for name, one in costs.items():
        sizes = [decimal(int(one[key])) if one[key] else "" for key in (*_LARGEST, "bytes_read", "bytes_written")]
        table.append([name, f"{one['tasks']:.0f}", *spent(one), *sizes])
    if gain > 0 and "total" in costs:
        table.append(["for each 0.01 gained", "", *spent(costs["total"], gain * 100), "", "", "", ""])
    return table


def _placed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a task's settings, by section, say of where it runs; all of them are too much to keep in a long run."""
    own = settings.get("settings", {})
    processes = int(own.get("processes", 1)) * int(own.get("nodes", 1))
    return {"on_gpus": settings.get("model", {}).get("device") == "cuda", "processes": processes}


def _gpus(task: Task) -> int:
    """GPUs that a task held: one, or those of a training's processes; none where its model runs on the CPU."""
    return task.processes if task.on_gpus or task.cost.get("gpu_peak_memory") else 0
