"""The nodes that Argo keeps of a run: as many as it has when all of a pipeline has run, with what each holds.

Argo's controller as KFP 2.17 ships it retries every template (`templateDefaults.retryStrategy`), so that each step is
two nodes: the retries, and the attempt, with the same inputs and outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.workflow.parts import (
    ROOT,
    Json,
    Parts,
    is_exit,
    labels_and_retries,
    parameter,
    to_text,
)
from advantageflow_pipelines.client.workflow.pod import pod_patch

_NAME = "advantageflow-online-lfqsn"  # as long as any workflow's
_DRIVEN = [parameter("iteration-count", 0, default="0"), parameter("condition", "true", default="true")]
_DECIDED = [parameter("cached-decision", "false", default="false"), parameter("condition", "true", default="true")]


def run_nodes(package: Package, *, wrapped: bool = True) -> list[Json]:
    """The nodes, none of them taken from the cache or tried again.

    Args:
        package: the pipeline.
        wrapped: with KFP's own `templateDefaults.retryStrategy`; without it, only tasks with retries are two nodes.
    """
    run = _Run(Parts(package), wrapped)
    inputs = package.pipeline["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {name: one.get("defaultValue", "") for name, one in inputs.items()}
    start = run.dag(_NAME, "entrypoint")
    told = [parameter("component", run.parts.text("component", ROOT)), parameter("driver-type", "ROOT_DAG"),
            parameter("runtime-config", to_text({"parameterValues": values}))]  # fmt: skip
    run.drive(f"{start}.root-driver", told)
    run.tasks(run.dag(f"{start}.root", ROOT), ROOT, _Scope(values))
    return run.nodes


def count_pods(nodes: list[Json]) -> int:
    """How many of the nodes are pods."""
    return sum(node["type"] == "Pod" for node in nodes)


@dataclass(frozen=True)
class _Scope:
    """What a pipeline's tasks can refer to.

    Attributes:
        parameters: values of the inputs.
        artifacts: how many each input holds.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, int] = field(default_factory=dict)

    def of(self, task: Json, beside: Mapping[str, Json]) -> _Scope:
        """What the task's own tasks can refer to; `beside` are those that it stands with."""
        inputs = task.get("inputs", {})
        parameters = {key: self._value(source) for key, source in inputs.get("parameters", {}).items()}
        artifacts = {key: self._count(source, beside) for key, source in inputs.get("artifacts", {}).items()}
        return _Scope(parameters, artifacts)

    def _value(self, source: Json) -> Any:
        if "componentInputParameter" in source:
            return self.parameters.get(source["componentInputParameter"], "")
        return source.get("runtimeValue", {}).get("constant", "")

    def _count(self, source: Json, beside: Mapping[str, Json]) -> int:
        if "componentInputArtifact" in source:
            return self.artifacts.get(source["componentInputArtifact"], 1)
        producer = beside.get(source.get("taskOutputArtifact", {}).get("producerTask", ""), {})
        return len(_items(producer, self.of(producer, {}).parameters)) if "parameterIterator" in producer else 1


class _Run:
    """Collects the nodes of a run."""

    def __init__(self, parts: Parts, wrapped: bool) -> None:
        self.parts = parts
        self.wrapped = wrapped
        self.nodes: list[Json] = []
        self._random = Random(0)

    def tasks(self, path: str, name: str, scope: _Scope) -> None:
        """All tasks of a pipeline, its exit task within the node of the hook that starts it."""
        tasks = self.parts.component(name)["dag"]["tasks"]
        for key, task in tasks.items():
            at = path
            if is_exit(task):
                [guarded, *_] = task["dependentTasks"]
                at = self.dag(f"{path}.{guarded}.onExit", f"exit-hook-{name}-{key}")
            self._task(at, key, task, scope.of(task, tasks))

    def dag(self, path: str, template: str, *more: Json) -> str:
        """A node that holds others; returns the path of its attempt."""
        return self._step(path, "DAG", template, [parameter("parent-dag-id", self._number()), *more])

    def drive(self, path: str, told: list[Json]) -> None:
        """The pod that reads a pipeline's inputs."""
        outputs = [parameter("execution-id", self._number()), *_DRIVEN]
        self._step(path, "Pod", "system-dag-driver", told, outputs)

    def _task(self, path: str, name: str, task: Json, scope: _Scope) -> None:
        used = task["componentRef"]["name"]
        if "parameterIterator" in task:
            self._loop(f"{path}.{name}", task, used, scope)
        elif "dag" in self.parts.component(used):
            self._nested(f"{path}.{name}", task, used, scope)
        else:
            self._container(path, name, task, used, scope)

    def _loop(self, path: str, task: Json, used: str, scope: _Scope) -> None:
        loop, items = self.dag(path, f"{used}-iterator"), _items(task, scope.parameters)
        self._drive_task(f"{loop}.iteration-driver", task, used)
        self._node(f"{loop}.iteration-iterations", "TaskGroup", f"{used}-iteration", children=len(items))
        for number, item in enumerate(items):
            index = parameter("iteration-index", number)
            one = self.dag(f"{loop}.iteration-iterations({number}:{number})", f"{used}-iteration", index)
            parameters = {**scope.parameters, task["parameterIterator"].get("itemInput", "item"): item}
            self._nested(f"{one}.iteration-item", task, used, replace(scope, parameters=parameters))

    def _nested(self, path: str, task: Json, used: str, scope: _Scope) -> None:
        if "dag" not in self.parts.component(used):  # a loop over a single task
            path, _, name = path.rpartition(".")
            self._container(path, name, task, used, scope)
            return
        self._drive_task(f"{path}-driver", task, used)
        self.tasks(self.dag(path, used, parameter("condition", "")), used, scope)

    def _drive_task(self, path: str, task: Json, used: str) -> None:
        text = self.parts.text("component", used)
        told = [parameter("component", text), parameter("task", to_text(task)), parameter("task-name", used),
                parameter("parent-dag-id", self._number()), parameter("driver-type", "DAG")]  # fmt: skip
        self.drive(path, told)

    def _container(self, path: str, name: str, task: Json, used: str, scope: _Scope) -> None:
        component = self.parts.component(used)
        container, kubernetes = self.parts.container(component), self.parts.kubernetes(component)
        text = pod_patch(name, component, container, kubernetes, scope.parameters, scope.artifacts, self._random)
        patch = parameter("pod-spec-patch", text)
        told = [parameter("component", self.parts.text("component", used)), parameter("task", to_text(task)),
                parameter("container", self.parts.text("container", used)), parameter("task-name", name),
                parameter("parent-dag-id", self._number()),
                parameter("kubernetes-config", self.parts.text("kubernetes", used))]  # fmt: skip
        self._step(f"{path}.{name}-driver", "Pod", "system-container-driver", told, [patch, *_DECIDED])
        passed = [patch, *labels_and_retries(task, kubernetes)]
        template = "metadata-0-4-retry-system-container-executor"
        inner = self._step(f"{path}.{name}", "DAG", template, [*passed, parameter("cached-decision", "false")])
        self._step(f"{inner}.executor", "Pod", template, passed, retried="retryPolicy" in task)

    def _step(
        self,
        path: str,
        kind: str,
        template: str,
        inputs: list[Json],
        outputs: list[Json] | None = None,
        *,
        retried: bool = False,
    ) -> str:
        """One step, with its retries' node where it has one; returns the path of what runs."""
        if self.wrapped or retried:
            self._node(path, "Retry", template, inputs, outputs)
            path = f"{path}(0)"
        self._node(path, kind, template, inputs, outputs)
        return path

    def _node(
        self,
        path: str,
        kind: str,
        template: str,
        inputs: list[Json] | None = None,
        outputs: list[Json] | None = None,
        children: int = 1,
    ) -> None:
        node: Json = {"id": self._id(), "name": path, "displayName": _shown(path), "type": kind,
                      "templateName": template, "templateScope": f"local/{_NAME}", "phase": "Succeeded",
                      "boundaryID": self._id(), "startedAt": self._time(), "finishedAt": self._time(),
                      "progress": "9/9", "resourcesDuration": {"cpu": self._number(), "memory": self._number()},
                      "inputs": {"parameters": inputs or []},
                      "outputs": {"parameters": outputs or [], "exitCode": "0"},
                      "children": [self._id() for _ in range(children)]}  # fmt: skip
        if kind == "DAG":
            node["outboundNodes"] = [self._id()]
        self.nodes.append(node)

    def _number(self) -> int:
        return self._random.randrange(1000)

    def _id(self) -> str:
        return f"{_NAME}-{self._random.randrange(10**9, 2**32)}"

    def _time(self) -> str:
        hour, minute, second = (self._random.randrange(most) for most in (24, 60, 60))
        return f"2026-11-28T{hour:02}:{minute:02}:{second:02}Z"


def _shown(path: str) -> str:
    """The last part of a node's path; a hook is named with the task that it follows."""
    *_, before, name = ["", *path.split(".")]
    return f"{before}.{name}" if name.startswith("onExit") else name


def _items(task: Json, parameters: Mapping[str, Any]) -> list[Any]:
    """What a loop goes over.

    Raises:
        ValueError: nobody knows it before the run.
    """
    items = task["parameterIterator"]["items"]
    found = json.loads(items["raw"]) if "raw" in items else parameters.get(items["inputParameter"])
    if not isinstance(found, list):
        raise ValueError(f"{task['componentRef']['name']}: a loop over what is not known before the run")
    return found
