"""A compiled pipeline that says everything once: equal executors and components made one.

Kubeflow's compiler gives each task of an unrolled pipeline a component, an executor and Kubernetes settings of its own,
although all rounds have the same. The server tells tasks apart by their own names, and the cache by what they compute,
so tasks may share them. (The local runner names output folders by component: it needs them apart.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from advantageflow.tracking.continuing import is_segment
from advantageflow_pipelines.client.package import Package

Json = dict[str, Any]


def compact(package: Package) -> Package:
    """The same pipeline without repetitions, nested pipelines included; of equal parts the first one's name stays."""
    executors = _without_older_forms(package.pipeline["deploymentSpec"]["executors"])
    kubernetes = _without_older_forms(package.kubernetes)
    labels = _first_of_equals({label: [executors[label], kubernetes.get(label)] for label in executors})
    components = {name: _with_label(part, labels) for name, part in package.pipeline.get("components", {}).items()}
    names = _first_of_equals({name: _expanded(part, components) for name, part in components.items()})
    kept: dict[str, Json] = {}
    root = _rebuilt(package.pipeline["root"], components, names, kept)
    for name in filter(is_segment, components):
        kept[name] = _rebuilt(components[name], components, names, kept)
    pipeline = {
        **package.pipeline,
        "root": root,
        "components": {name: kept[name] for name in components if name in kept},
        "deploymentSpec": {**package.pipeline["deploymentSpec"], "executors": _only_first(executors, labels)},
    }
    return Package(pipeline, package.platform).with_kubernetes(_only_first(kubernetes, labels))


def _without_older_forms(part: Any) -> Any:
    """A part of executors that says twice what it says for older servers also, said once.

    A constant name of a secret or config map stays as itself, an amount of a resource as a quantity.
    """
    if isinstance(part, list):
        return [_without_older_forms(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {name: _without_older_forms(one) for name, one in part.items() if not _said_again(part, name)}


def _said_again(part: Json, name: str) -> bool:
    if name.endswith("NameParameter"):
        constant = part[name].get("runtimeValue", {}).get("constant")
        return bool(constant is not None and constant == part.get(name.removesuffix("Parameter")))
    return f"resource{name[0].upper()}{name[1:]}" in part


def _first_of_equals(parts: Mapping[str, Any]) -> dict[str, str]:
    """For each name, the first name with an equal part."""
    first: dict[str, str] = {}
    return {name: first.setdefault(json.dumps(part, sort_keys=True), name) for name, part in parts.items()}


def _only_first(parts: Mapping[str, Any], names: Mapping[str, str]) -> Json:
    return {name: part for name, part in parts.items() if names.get(name, name) == name}


def _with_label(component: Json, labels: Mapping[str, str]) -> Json:
    label = component.get("executorLabel")
    return component if label is None else {**component, "executorLabel": labels[label]}


def _expanded(component: Json, components: Mapping[str, Json]) -> Json:
    """A component with those that its tasks use in place of their names."""
    return _with_references(component, lambda task: _expanded(components[task["componentRef"]["name"]], components))


def _rebuilt(component: Json, components: Mapping[str, Json], names: Mapping[str, str], kept: dict[str, Json]) -> Json:
    """A component that refers to the first of equals; puts all that it needs into `kept`.

    The body of a loop stays its task's own, as the server names a template after it for each loop, and two of one name
    are an error.
    """

    def refer(task: Json) -> Json:
        own = task["componentRef"]["name"]
        name = own if "parameterIterator" in task or "artifactIterator" in task else names[own]
        if name not in kept:
            kept[name] = _rebuilt(components[name], components, names, kept)
        return {"name": name}

    return _with_references(component, refer)


def _with_references(component: Json, refer: Callable[[Json], Json]) -> Json:
    if "dag" not in component:
        return component
    tasks = {name: {**task, "componentRef": refer(task)} for name, task in component["dag"]["tasks"].items()}
    return {**component, "dag": {**component["dag"], "tasks": tasks}}
