"""The tree of a run's nodes, worked out of Kubeflow's list of its tasks, which says neither names nor parents in full.

An entry of the list holds the last part of its node's name, and the ids of the nodes after it. An id is the workflow's
name and the FNV-1a hash of the node's full name, such as `flow(0).root(0).round-01(0).training(0).executor(1)`, with an
attempt in brackets wherever Argo retries. So full names are found by trying parts and comparing hashes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from advantageflow_pipelines.client.runs import TaskStatus

_START, _PRIME, _BITS = 2166136261, 16777619, 0xFFFFFFFF
_ATTEMPT = re.compile(r"\(\d+\)$")


def find_nodes(tasks: Sequence[TaskStatus]) -> dict[str, TaskStatus | None]:
    """All nodes of which the list has an id, by full name; None for one whose entry cannot be told from others.

    Those are nodes with nothing after them, such as attempts.
    """
    hashes = _full_names(tasks)
    names = {node_id: name for name, node_id in hashes.items()}
    found: dict[str, TaskStatus | None] = dict.fromkeys(hashes)
    for task in tasks:
        for node_id in task.pods:
            parent = parent_of(names.get(_hash_in(node_id), ""))
            if parent in found and parent.rpartition(".")[2] == task.name:
                found[parent] = task
    return found


def parent_of(name: str) -> str:
    """The node that a node belongs to: of an attempt what is tried, of others the pipeline, loop or task around it."""
    tried = without_attempt(name)
    return tried if tried != name else name.rpartition(".")[0]


def without_attempt(name: str) -> str:
    """What is tried, where this is an attempt at it."""
    return _ATTEMPT.sub("", name)


def path_of(name: str) -> list[str]:
    """The parts of a full name, without attempts."""
    return list(map(without_attempt, name.split(".")))


def _full_names(tasks: Sequence[TaskStatus]) -> Mapping[str, int]:
    """Hashes by full name."""
    ids = [node_id for task in tasks for node_id in task.pods]
    if not ids:
        return {}
    wanted, workflow = set(map(_hash_in, ids)), ids[0].rpartition("-")[0]
    parts = {task.name for task in tasks if task.name}
    found = {workflow: _hash(workflow)}
    left = [workflow]
    while left:
        name = left.pop()
        last = name.rpartition(".")[2]
        for part in parts:
            more = part.removeprefix(last) if part.startswith(f"{last}(") else f".{part}"
            value = _hash(more, found[name])
            if value in wanted and name + more not in found:
                found[name + more] = value
                left.append(name + more)
    return found


def _hash_in(node_id: str) -> int:
    digits = node_id.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def _hash(text: str, value: int = _START) -> int:
    for byte in text.encode():
        value = ((value ^ byte) * _PRIME) & _BITS
    return value
