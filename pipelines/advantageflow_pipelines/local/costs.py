"""What a run costs: seconds, GPU-seconds, memory and bytes by stage, and overhead along its critical path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rich.filesize import decimal

from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow_pipelines.local.tasks import Task, Tasks
from advantageflow_pipelines.pipelines import pipeline_of

_SUMMED = ("tasks", "seconds", "gpu_seconds", "bytes_read", "bytes_written")
_LARGEST = ("peak_memory", "gpu_peak_memory")


class Timed(NamedTuple):
    """A finished task; times are epoch seconds.

    Attributes:
        useful: when its useful work began; its end if it never said so.
    """

    stage: str
    round_index: int | None
    shard: int | None
    started: float
    useful: float
    ended: float


def timed_tasks(events: Iterable[Event]) -> list[Timed]:
    """The finished tasks of a journal, in order of their ends."""
    return [
        Timed(one.stage, one.round_index, one.shard, one.started, one.useful or one.ended, one.ended)
        for one in Tasks(events).finished()
        if one.ended is not None
    ]


def useful_seconds(events: Iterable[Event], settings: RunSettings) -> dict[int, float]:
    """Seconds of useful work of each round: of its slowest shard (rollout and reward), then of its training.

    Start-up and evaluation are left out, so that the figure is what the algorithm itself costs, on any number of shards
    that run side by side. Of a task that was done twice, the later time counts.

    Args:
        events: a run's journal, of all attempts.
        settings: of the run.
    """
    pipeline = pipeline_of(settings)
    tasks = [task for task in timed_tasks(events) if task.round_index is not None]
    spent = {(task.round_index, task.stage, task.shard or 0): task.ended - task.useful for task in tasks}
    ending = [output.stage for output in pipeline.policies]
    last = {number: seconds for (number, stage, _), seconds in spent.items() if stage in ending and number is not None}
    shards: dict[tuple[int | None, int], float] = {}
    for (number, stage, shard), seconds in spent.items():
        if stage in pipeline.sharded:
            shards[number, shard] = shards.get((number, shard), 0.0) + seconds
    slowest = {number: max((one for (n, _), one in shards.items() if n == number), default=0.0) for number in last}
    return {number: slowest[number] + last[number] for number in sorted(last)}


def critical_path(tasks: list[Timed]) -> list[Timed]:
    """The tasks that made a run as long as it was, in order.

    Walked back from the task that ended last: each task waited for the one that had ended last when it started. Tasks
    in sequence add up; of shards that ran side by side one counts.
    """
    path: list[Timed] = []
    waited_for = tasks
    while waited_for:
        path.append(max(waited_for, key=lambda task: task.ended))
        waited_for = [task for task in tasks if task.ended <= path[-1].started]
    return path[::-1]


def measure_overhead(events: Iterable[Event], started: float, ended: float) -> dict[str, Any]:
    """How much of an attempt's time was no useful work.

    Args:
        events: the journal's events.
        started: epoch seconds at which the attempt started; earlier tasks are left out.
        ended: epoch seconds at which it ended.

    Returns:
        `seconds`: from process start to first useful work, summed over the tasks of the critical path, `stages` of it
        by stage; `between_tasks`: what no task of that path covers (start, scheduling, MLflow at the end); `share`: of
        both together in `of_seconds`, the attempt's duration.
    """
    path = critical_path(timed_tasks(event for event in events if event["time"] >= started))
    stages: dict[str, float] = {}
    for task in path:
        stages[task.stage] = stages.get(task.stage, 0.0) + task.useful - task.started
    seconds, duration = sum(stages.values()), ended - started
    between = duration - sum(task.ended - task.started for task in path)
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

    Args:
        events: a run's journal.
    """
    tasks = Tasks(events)
    costs: dict[str, dict[str, float]] = {}
    for task in (*tasks.finished(), *tasks.failed()):
        seconds = (task.ended or task.started) - task.started
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
        costs: of stage_costs.
        gain: of the headline measure; nothing is told by point where it is not positive.
        price: of an hour of one GPU; None leaves money out.
    """
    money = [] if price is None else ["money"]
    table = [["stage", "tasks", "seconds", "GPU-seconds", *money, "peak memory", "of the GPU", "read", "written"]]
    for name, one in costs.items():
        sizes = [decimal(int(one[key])) if one[key] else "" for key in (*_LARGEST, "bytes_read", "bytes_written")]
        paid = [f"{one['gpu_seconds'] / 3600 * price:,.2f}" for price in (price,) if price is not None]
        table.append(
            [name, f"{one['tasks']:.0f}", f"{one['seconds']:,.0f}", f"{one['gpu_seconds']:,.0f}", *paid, *sizes]
        )
    if gain > 0 and "total" in costs:
        points, one = gain * 100, costs["total"]
        paid = [f"{one['gpu_seconds'] / 3600 * price / points:,.2f}" for price in (price,) if price is not None]
        spent = [f"{one[key] / points:,.0f}" for key in ("seconds", "gpu_seconds")]
        table.append(["for each 0.01 gained", "", *spent, *paid, "", "", "", ""])
    return table


def _gpus(task: Task) -> int:
    """GPUs that a task held: one, or those of a training's processes; none where its model runs on the CPU."""
    if task.settings.get("model", {}).get("device") != "cuda" and not task.cost.get("gpu_peak_memory"):
        return 0
    own = task.settings.get("settings", {})
    return int(own.get("processes", 1)) * int(own.get("nodes", 1))
