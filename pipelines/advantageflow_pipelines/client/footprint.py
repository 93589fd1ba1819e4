"""What a run takes of the one object that Argo keeps of it: the workflow's spec, and the status of all its nodes.

Argo compresses the status (gzip, base64) once it would not fit otherwise; a run whose object grows beyond the limit all
the same ends with "Request entity too large", without its exit task. Nodes and pods are counted one by one; bytes are
those of the texts that a node repeats (components, settings, the patch of a pod), and what was measured for the rest.
"""

from __future__ import annotations

import gzip
import json
import operator
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from advantageflow_pipelines.client.package import Package

Json = dict[str, Any]

LIMIT = 1_048_576  # bytes of a workflow, Argo's MAX_WORKFLOW_SIZE

# Bytes in a workflow of KFP 2.17 and Argo 4.0, beside the texts of the pipeline.
_WORKFLOW = 15_000  # labels, templates of drivers and launchers, service account
_TASK = 1_300  # of the spec: a task's driver and the task itself
_NODE = 900  # of the status
_PATCH = 1_450  # a launcher's command, in each node that has a task's patch
_INPUT, _OUTPUT = 870, 320  # an artifact's address and type, in such a patch
_AGAIN, _FIRST = 0.0725, 6  # compressed: a share of the status, and what the pipeline takes compressed, so many times


@dataclass(frozen=True)
class Footprint:
    """What a run takes when all of it has run, none of it from the cache or tried again."""

    nodes: int  # that Argo keeps
    pods: int  # as many of them, which are started
    spec: int  # bytes of the workflow
    plain: int  # bytes of the nodes
    status: int  # bytes of the nodes, compressed

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self.spec + self.status

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(*map(operator.add, astuple(self), astuple(other)))

    def __mul__(self, number: int) -> Footprint:
        return Footprint(*(number * value for value in astuple(self)))

    def __str__(self) -> str:
        share = f"{self.size / 1024:,.0f} of the {LIMIT // 1024:,} KB that Argo keeps of a run"
        return f"{self.nodes:,} nodes, {self.pods:,} pods, about {share}"


def footprint(package: Package) -> Footprint:
    """Work out what a run of the pipeline takes; of one in segments, the largest.
    Raises ValueError: it loops over what is not known before the run.

    Argo retries every template, as KFP ships its controller (`templateDefaults.retryStrategy`): each step is two nodes,
    the retries and the attempt.
    """
    if len(package.roots) > 1:
        return max((footprint(package.with_root(root)) for root in package.roots), key=lambda one: one.size)
    inputs = package.root.get("inputDefinitions", {}).get("parameters", {})
    run = _Run(package)
    run.step()  # the entry point
    run.step(_quoted(package.root), pod=True)
    run.pipeline(package.root, {name: one.get("defaultValue", "") for name, one in inputs.items()})
    first = len(gzip.compress(json.dumps(package.as_json()).encode(), mtime=0))
    return Footprint(run.nodes, run.pods, _spec(package), run.bytes, round(_AGAIN * run.bytes + _FIRST * first))


class _Run:
    """Counts the nodes of a run as it would go through them."""

    def __init__(self, package: Package) -> None:
        self.nodes = self.pods = self.bytes = 0
        self._package = package

    def step(self, held: int = 0, *, pod: bool = False) -> None:
        """One step, whose nodes hold so many bytes of the pipeline's texts."""
        self.nodes += 2
        self.pods += pod
        self.bytes += 2 * (_NODE + held)

    def pipeline(self, component: Json, values: Mapping[str, Any]) -> None:
        """The node of a pipeline, and all of its tasks."""
        self.step()
        tasks = component["dag"]["tasks"]
        for task in tasks.values():
            if _is_exit(task):
                self.step()  # the hook that starts it
            given = {
                name: _value(source, values) for name, source in task.get("inputs", {}).get("parameters", {}).items()
            }
            if "parameterIterator" in task:
                self._loop(task, given)
            else:
                self._task(task, given, tasks)

    def _loop(self, task: Json, given: Mapping[str, Any]) -> None:
        items = _items(task, given)
        self.step()
        self._driver(task)
        self.nodes += 1  # the group of the iterations
        self.bytes += _NODE
        for item in items:
            self.step()
            self._task(task, {**given, task["parameterIterator"].get("itemInput", "item"): item}, {})

    def _task(self, task: Json, given: Mapping[str, Any], beside: Mapping[str, Json]) -> None:
        component = self._package.component(task)
        if "dag" in component:
            self._driver(task)
            self.pipeline(component, given)
            return
        container, kubernetes = self._package.executor(component)
        if not container:  # an importer: a pod without a driver
            self.step(_quoted(component) + _quoted(task), pod=True)
            return
        outputs = len(component.get("outputDefinitions", {}).get("artifacts", {})) + 1  # the log
        inputs = sum(_count(source, beside) for source in task.get("inputs", {}).get("artifacts", {}).values())
        patch = _PATCH + inputs * _INPUT + outputs * _OUTPUT
        patch += _quoted([_text(component), _text(given), container, kubernetes])
        self.step(patch + _quoted(component) + _quoted(task) + _quoted(container) + _quoted(kubernetes), pod=True)
        labels = len(_text(kubernetes.get("podMetadata", {})))
        self.step(patch + labels)
        self.step(patch + labels, pod=True)

    def _driver(self, task: Json) -> None:
        self.step(_quoted(self._package.component(task)) + _quoted(task), pod=True)


def _spec(package: Package) -> int:
    """Bytes of a workflow's spec: the components, for each container one, and every task for its driver."""
    pipelines = [package.root]
    held: dict[str, int] = {}
    size = _WORKFLOW + _quoted(package.root)
    for component in package.components.values():
        if "dag" in component:
            pipelines.append(component)
            size += _quoted(component)
        else:
            container, kubernetes = package.executor(component)
            held[_text(container)] = _quoted(container) + _quoted(component)
            size += _quoted(kubernetes)
    for task in (task for pipeline in pipelines for task in pipeline["dag"]["tasks"].values()):
        size += (_TASK + _quoted(task)) * (2 if "parameterIterator" in task else 1)
    return size + sum(held.values())


def _is_exit(task: Json) -> bool:
    """Whether a task runs at the end, whatever came before."""
    return bool(task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED")


def _value(source: Json, values: Mapping[str, Any]) -> Any:
    if "componentInputParameter" in source:
        return values.get(source["componentInputParameter"], "")
    return source.get("runtimeValue", {}).get("constant", "")


def _items(task: Json, given: Mapping[str, Any]) -> list[Any]:
    """What a loop goes over."""
    items = task["parameterIterator"]["items"]
    found = json.loads(items["raw"]) if "raw" in items else given.get(items["inputParameter"])
    if not isinstance(found, list):
        raise ValueError(f"{task['componentRef']['name']}: a loop over what is not known before the run")
    return found


def _count(source: Json, beside: Mapping[str, Json]) -> int:
    """How many artifacts an input holds: one, or one of each iteration of a loop beside the task."""
    producer = beside.get(source.get("taskOutputArtifact", {}).get("producerTask", ""), {})
    return len(_items(producer, {})) if "parameterIterator" in producer else 1


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _quoted(value: Any) -> int:
    """Bytes of a value's JSON as text within JSON."""
    return len(json.dumps(_text(value)))
