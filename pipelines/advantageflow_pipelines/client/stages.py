"""The stage tasks of a run by Kubeflow's list of its tasks, called by round and shard as on one machine.

The list says neither names nor parents in full: an entry holds the last part of its node's name, and the ids of the
nodes after it. An id is the workflow's name and the FNV-1a hash of the node's full name, such as
`flow(0).root(0).round-01(0).training(0).executor(1)`, with an attempt in brackets wherever Argo retries. So full names
are found by trying parts and comparing hashes.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.runs import FAILED, SUCCEEDED, RunStatus, TaskStatus
from advantageflow_pipelines.local.tasks import CANCELLED, FROM_CACHE, Task

OWN_TASKS = ("opening", "continuing", "closing")  # of a run, which are no stages
_CONTAINER, _DRIVER = ".executor", "-driver"
_ATTEMPT = re.compile(r"\(\d+\)$")
_SHARD = re.compile(r".*\((\d+):.*\)")  # an iteration: its number, and what it is of
_ENDED = (SUCCEEDED, FAILED, "CACHED", "SKIPPED")
_FNV_START, _FNV_PRIME, _32_BITS = 2166136261, 16777619, 0xFFFFFFFF


def stage_tasks(run: RunStatus) -> list[Task]:
    """The run's stage tasks that have begun, its first and its last task too, in the order that they ended or began.

    Those whose driver failed are among them: they never began.
    """
    nodes = _find_nodes(run.tasks)
    tries = any(_parent_of(name).endswith(_CONTAINER) for name in nodes)  # Argo tells attempts from what is tried
    rounds = _rounds(run.spec)
    attempts = Counter(_parent_of(name) for name in nodes if _ATTEMPT.search(name))
    containers = {_tried(_parent_of(name)): name for name in nodes if name.endswith(_CONTAINER)}
    found = []
    for name, container in containers.items():
        entry = nodes[name] or nodes[_parent_of(container)]
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


def from_cache(run: RunStatus) -> bool:
    """Whether the results of all stages were taken from the cache; False where the list of tasks is not whole."""
    if run.state != SUCCEEDED or not any(task.state == "SKIPPED" for task in run.tasks):
        return False
    tasks = stage_tasks(run)
    whole = any(task.stage == "closing" and task.ended for task in tasks)
    return whole and all(task.how == FROM_CACHE for task in tasks if task.stage not in OWN_TASKS)


def pipeline_tasks(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of a pipeline, and of those within it, by their names; those of later segments have the same ones."""
    package = _package(spec)
    parts = [package.root, *package.with_root(package.root).components.values()]
    return {name: task for part in parts for name, task in part.get("dag", {}).get("tasks", {}).items()}


def _package(spec: Mapping[str, Any]) -> Package:
    return Package.read(spec.get("pipeline_spec", spec))


def _rounds(spec: Mapping[str, Any]) -> dict[str, int]:
    """The rounds of the tasks that are told theirs."""
    found = {}
    for name, task in pipeline_tasks(spec).items():
        told = task.get("inputs", {}).get("parameters", {}).get("round_index", {})
        if "constant" in told.get("runtimeValue", {}):
            found[name] = int(told["runtimeValue"]["constant"])
    return found


def _task(run: RunStatus, name: str, entry: TaskStatus, attempts: int, rounds: Mapping[str, int]) -> Task:
    *path, stage = map(_tried, name.split("."))
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


def _epoch(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else time.time()


def _find_nodes(tasks: Sequence[TaskStatus]) -> dict[str, TaskStatus | None]:
    """All nodes of which the list has an id, by full name; None for one whose entry cannot be told from others.

    Those are nodes with nothing after them, such as attempts.
    """
    by_hash = _full_names(tasks)
    found: dict[str, TaskStatus | None] = dict.fromkeys(by_hash.values())
    for task in tasks:
        for node_id in task.pods:
            parent = _parent_of(by_hash.get(_hash_in(node_id), ""))
            if parent in found and parent.rpartition(".")[2] == task.name:
                found[parent] = task
    return found


def _full_names(tasks: Sequence[TaskStatus]) -> dict[int, str]:
    """By hash."""
    ids = [node_id for task in tasks for node_id in task.pods]
    if not ids:
        return {}
    wanted, workflow = set(map(_hash_in, ids)), ids[0].rpartition("-")[0]
    parts = {task.name for task in tasks if task.name}
    found = {_hash(workflow): workflow}
    left = list(found.items())
    while left:
        value, name = left.pop()
        last = name.rpartition(".")[2]
        for part in parts:
            more = part.removeprefix(last) if part.startswith(f"{last}(") else f".{part}"
            longer = _hash(more, value)
            if longer in wanted and longer not in found:
                found[longer] = name + more
                left.append((longer, name + more))
    return found


def _parent_of(name: str) -> str:
    """The node that a node belongs to: of an attempt what is tried, of others the pipeline, loop or task around it."""
    tried = _tried(name)
    return tried if tried != name else name.rpartition(".")[0]


def _tried(name: str) -> str:
    """What is tried, where this is an attempt at it."""
    return _ATTEMPT.sub("", name)


def _hash_in(node_id: str) -> int:
    digits = node_id.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def _hash(text: str, value: int = _FNV_START) -> int:
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _32_BITS
    return value
