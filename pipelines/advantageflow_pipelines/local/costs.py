"""What a run costs: seconds, GPU-seconds, memory and bytes by stage, and overhead along its critical path."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.filesize import decimal

from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow_pipelines.local.tasks import Task, Tasks
from advantageflow_pipelines.pipelines import pipeline_of

_SUMMED = ("tasks", "seconds", "gpu_seconds", "bytes_read", "bytes_written")
_LARGEST = ("peak_memory", "gpu_peak_memory")


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


def _gpus(task: Task) -> int:
    """GPUs that a task held: one, or those of a training's processes; none where its model runs on the CPU."""
    if task.settings.get("model", {}).get("device") != "cuda" and not task.cost.get("gpu_peak_memory"):
        return 0
    own = task.settings.get("settings", {})
    return int(own.get("processes", 1)) * int(own.get("nodes", 1))
