"""The spec of the workflow that Kubeflow's API server makes of a pipeline (argocompiler, KFP 2.17), for its bytes.

All components lie in it as arguments; every task says its own JSON again, to its driver.
"""

from __future__ import annotations

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

FIXED = 11_500  # bytes of what all workflows have: the templates of drivers and launchers, security, service account

_PARENT = parameter("parent-dag-id", "{{inputs.parameters.parent-dag-id}}")


def spec_bytes(package: Package) -> int:
    """Bytes of the workflow's spec as compact JSON."""
    arguments, templates = _Spec(Parts(package)).made()
    return FIXED + len(to_text({"arguments": {"parameters": arguments}, "templates": templates}))


class _Spec:
    """Arguments and templates, each once by its name."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.arguments: dict[str, str] = {}
        self.templates: dict[str, Json] = {}

    def made(self) -> tuple[list[Json], list[Json]]:
        """All of them."""
        self._add(ROOT)
        inputs = self.parts.component(ROOT).get("inputDefinitions", {}).get("parameters", {})
        values = {"parameterValues": {name: one.get("defaultValue") for name, one in inputs.items()}}
        driver = _task("root-driver", "system-dag-driver", [
            parameter("component", "{{workflow.parameters.components-root}}"),
            parameter("runtime-config", to_text(values)), parameter("driver-type", "ROOT_DAG"),
        ])  # fmt: skip
        self._template("entrypoint", [driver, self._dag(ROOT, ROOT)])
        return [parameter(*pair) for pair in self.arguments.items()], list(self.templates.values())

    def _add(self, name: str) -> None:
        """A component with all that it uses."""
        component, argument = self.parts.component(name), self.parts.argument(name)
        self.arguments[f"components-{argument}"] = self.parts.text("component", name)
        if "dag" not in component:
            self.arguments[f"implementations-{argument}"] = self.parts.text("container", name)
            self.arguments[f"kubernetes-{name}"] = self.parts.text("kubernetes", name)
            return
        tasks: list[Json] = []
        for task_name, task in component["dag"]["tasks"].items():
            used = task["componentRef"]["name"]
            if used not in self.templates and f"kubernetes-{used}" not in self.arguments:
                self._add(used)
            made = self._tasks(task_name, task)
            if is_exit(task):
                self._template(f"exit-hook-{name}-{task_name}", made)
            else:
                tasks += made
        self._template(name, tasks)

    def _template(self, name: str, tasks: list[Json]) -> None:
        inputs = {"parameters": [{"name": "parent-dag-id"}, {"name": "iteration-index"}]}
        self.templates[name] = {"name": name, "inputs": inputs, "outputs": {}, "metadata": {}, "dag": {"tasks": tasks}}

    def _tasks(self, name: str, task: Json, *, iterated: bool = False) -> list[Json]:
        """A task as Argo's: one that drives, and one that runs."""
        used = task["componentRef"]["name"]
        if "parameterIterator" in task and not iterated:
            return self._loop(name, used, task)
        if "dag" in self.parts.component(used):
            return [self._dag_driver(f"{name}-driver", name, used, task), self._dag(name, used)]
        return self._container(name, used, task)

    def _loop(self, name: str, used: str, task: Json) -> list[Json]:
        iterations = self._dag("iteration-iterations", f"{used}-iteration")
        iterations["withSequence"] = {"count": "{{tasks.iteration-driver.outputs.parameters.iteration-count}}"}
        self._template(f"{used}-iteration", self._tasks("iteration-item", task, iterated=True))
        self._template(f"{used}-{name}-iterator", [self._dag_driver("iteration-driver", name, used, task), iterations])
        return [_task(name, f"{used}-{name}-iterator", [_PARENT], _after(task))]

    def _dag(self, name: str, used: str) -> Json:
        outputs = f"tasks.{name}-driver.outputs.parameters"
        values = {"parent-dag-id": f"{{{{{outputs}.execution-id}}}}", "condition": f"{{{{{outputs}.condition}}}}"}
        return _task(name, used, [parameter(*pair) for pair in values.items()], f"{name}-driver.Succeeded")

    def _dag_driver(self, name: str, task_name: str, used: str, task: Json) -> Json:
        component = parameter("component", f"{{{{workflow.parameters.components-{used}}}}}")
        told = [component, _PARENT, parameter("task", to_text(task)), parameter("task-name", task_name)]
        return _task(name, "system-dag-driver", told, _after(task))

    def _container(self, name: str, used: str, task: Json) -> list[Json]:
        argument = self.parts.argument(used)
        driver = _task(f"{name}-driver", "system-container-driver", [
            parameter("component", f"{{{{workflow.parameters.components-{argument}}}}}"),
            parameter("task", to_text(task)),
            parameter("container", f"{{{{workflow.parameters.implementations-{argument}}}}}"),
            parameter("task-name", name), _PARENT,
            parameter("kubernetes-config", f"{{{{workflow.parameters.kubernetes-{used}}}}}"),
        ], _after(task))  # fmt: skip
        outputs = f"tasks.{name}-driver.outputs.parameters"
        told = [parameter("pod-spec-patch", f"{{{{{outputs}.pod-spec-patch}}}}"),
                parameter("cached-decision", f"{{{{{outputs}.cached-decision}}}}", default="false")]  # fmt: skip
        told += labels_and_retries(task, self.parts.kubernetes(self.parts.component(used)))
        return [driver, _task(name, "metadata-0-4-retry-system-container-executor", told, f"{name}-driver.Succeeded")]


def _after(task: Json) -> str:
    return " && ".join(f"{name}.Succeeded" for name in task.get("dependentTasks", []))


def _task(name: str, template: str, parameters: list[Json], depends: str = "") -> Json:
    task: dict[str, Any] = {"name": name, "template": template, "arguments": {"parameters": parameters}}
    return {**task, "depends": depends} if depends else task
