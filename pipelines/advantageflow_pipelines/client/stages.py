"""The stage tasks of a run by Kubeflow's list of its tasks, called by round and shard as on one machine."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from advantageflow_pipelines.client.nodes import find_nodes, parent_of, path_of, without_attempt
from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.runs import FAILED, SUCCEEDED, RunStatus, TaskStatus
from advantageflow_pipelines.local.tasks import CANCELLED, FROM_CACHE, Task

OWN_TASKS = ("opening", "continuing", "closing")  # of a run, which are no stages
_CONTAINER, _DRIVER = ".executor", "-driver"
_SHARD = re.compile(r".*\((\d+):.*\)")  # an iteration: its number, and what it is of
_ENDED = (SUCCEEDED, FAILED, "CACHED", "SKIPPED")


def stage_tasks(run: RunStatus) -> list[Task]:
    """The run's stage tasks that have begun, its first and its last task too, in the order that they ended or began.

    Those whose driver failed are among them: they never began.
    """
    nodes = find_nodes(run.tasks)
    tries = any(parent_of(name).endswith(_CONTAINER) for name in nodes)  # Argo tells attempts from what is tried
    rounds = _rounds(run.spec)
    attempts = Counter(parent_of(name) for name in nodes if name != without_attempt(name))
    containers = {without_attempt(parent_of(name)): name for name in nodes if name.endswith(_CONTAINER)}
    found = []
    for name, container in containers.items():
        entry = nodes[name] or nodes[parent_of(container)]
        if entry is not None and entry.started is not None:
            found.append(_task(run, name, entry, attempts[container] if tries else 1, rounds))
    for name, entry in nodes.items():
        if entry is not None and entry.state == FAILED and name.endswith(_DRIVER):
            found.append(_task(run, name.removesuffix(_DRIVER), entry, 1, rounds))
    return sorted(found, key=lambda task: (task.ended or task.started, task.name))


def last_round(run: RunStatus) -> int:
    """The number of the run's last round, that of its last segment; 0 where its pipeline is not known."""
    package = _package(run.spec)
    segments = [_rounds(package.with_root(root).as_json()) for root in package.roots]
    return max((number for rounds in segments for number in rounds.values()), default=0)


def _task(run: RunStatus, name: str, entry: TaskStatus, attempts: int, rounds: Mapping[str, int]) -> Task:
    *path, stage = path_of(name)
    number = next((rounds[part] for part in reversed([*path, stage]) if part in rounds), None)
    shard = next((int(found[1]) for part in path if (found := _SHARD.fullmatch(part))), None)
    stage = stage if number is None else re.sub(r"-\d+$", "", stage)  # Kubeflow numbers tasks of one component
    task = Task(f"{stage} {number} {shard}", stage, number, shard, _epoch(entry.started), attempt=max(attempts, 1))
    if entry.state not in _ENDED:
        return task
    task.ended = _epoch(entry.ended or entry.started)
    if entry.state == FAILED:
        task.error = {"event": "error", "message": entry.error}
        task.how = CANCELLED if run.cancelled else ""
    elif not attempts:
        task.how = FROM_CACHE
    return task


def pipeline_tasks(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of a pipeline, and of those within it, by their names; those of later segments have the same ones."""
    package = _package(spec)
    pipeline = package.with_root(package.pipeline["root"]).pipeline
    parts = [pipeline["root"], *pipeline["components"].values()]
    return {name: task for part in parts for name, task in part.get("dag", {}).get("tasks", {}).items()}


def _package(spec: Mapping[str, Any]) -> Package:
    return Package({"root": {}, **spec.get("pipeline_spec", spec)}, {})


def _rounds(spec: Mapping[str, Any]) -> dict[str, int]:
    """The rounds of the tasks that are told theirs."""
    told = {name: task.get("inputs", {}).get("parameters", {}) for name, task in pipeline_tasks(spec).items()}
    found = {
        name: inputs.get("round_index", {}).get("runtimeValue", {}).get("constant") for name, inputs in told.items()
    }
    return {name: int(number) for name, number in found.items() if number is not None}


def _epoch(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else time.time()


def from_cache(run: RunStatus) -> bool:
    """Whether the results of all stages were taken from the cache; False where the list of tasks is not whole."""
    if run.state != SUCCEEDED or not any(task.state == "SKIPPED" for task in run.tasks):
        return False
    tasks = stage_tasks(run)
    whole = any(task.stage == "closing" and task.ended for task in tasks)
    return whole and all(task.how == FROM_CACHE for task in tasks if task.stage not in OWN_TASKS)
