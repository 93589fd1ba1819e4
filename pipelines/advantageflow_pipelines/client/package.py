"""A compiled pipeline as it is sent: its segments together, nothing in it twice, cached or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from advantageflow.annotations import BaseComponent
from advantageflow.tracking.continuing import component_of, is_segment

Json = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """A pipeline in Kubeflow's own form, in its parts."""

    head: Json  # of the pipeline spec: name and versions
    root: Json  # what runs
    components: Json  # by name
    executors: Json  # by label
    kubernetes: Json  # what Kubernetes alone is told, by label

    @classmethod
    def of(cls, built: BaseComponent) -> Package:
        """A pipeline that Kubeflow's compiler has built."""
        from google.protobuf.json_format import MessageToJson

        specs = built.pipeline_spec, built.platform_spec
        return cls.read(*(json.loads(MessageToJson(one, sort_keys=True)) for one in specs))

    @classmethod
    def read(cls, pipeline: Json, platform: Json | None = None) -> Package:
        """A pipeline by its spec and platform spec."""
        head = {name: one for name, one in pipeline.items() if name not in ("root", "components", "deploymentSpec")}
        executors = pipeline.get("deploymentSpec", {}).get("executors", {})
        kubernetes = (platform or {}).get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
        root, components = pipeline.get("root", {}), pipeline.get("components", {})
        return cls(head, root, components, executors, kubernetes.get("executors", {}))

    @property
    def pipeline(self) -> Json:
        """The pipeline spec."""
        parts = {"root": self.root, "components": self.components, "deploymentSpec": {"executors": self.executors}}
        return {**self.head, **parts}

    @property
    def platform(self) -> Json:
        """The platform spec; empty if there is none."""
        executors = {"deploymentSpec": {"executors": self.kubernetes}}
        return {"platforms": {"kubernetes": executors}} if self.kubernetes else {}

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.head["pipelineInfo"]["name"])

    def component(self, task: Json) -> Json:
        """The component that a task is of."""
        found: Json = self.components[task["componentRef"]["name"]]
        return found

    def executor(self, component: Json) -> tuple[Json, Json]:
        """What a component that is not a pipeline runs: its container, and its Kubernetes settings; {} for none."""
        label = component["executorLabel"]
        return self.executors[label].get("container", {}), self.kubernetes.get(label, {})

    @property
    def roots(self) -> list[Json]:
        """What runs: the pipeline's root, and those of the segments that continue it."""
        return [self.root, *(part for name, part in self.components.items() if is_segment(name))]

    def with_root(self, root: Json) -> Package:
        """The pipeline of another root, with the components that it uses alone."""
        used: Json = {}

        def use(component: Json) -> None:
            for task in component.get("dag", {}).get("tasks", {}).values():
                name = task["componentRef"]["name"]
                if name not in used:
                    used[name] = self.component(task)
                    use(used[name])

        use(root)
        return replace(self, root=root, components=used)

    def with_tasks(self, change: Callable[[Json], Json]) -> Package:
        """The package with other tasks by name, in the root and in every component that is a pipeline."""

        def changed(part: Json) -> Json:
            return {**part, "dag": {**part["dag"], "tasks": change(part["dag"]["tasks"])}} if "dag" in part else part

        components = {name: changed(part) for name, part in self.components.items()}
        return replace(self, root=changed(self.root), components=components)

    def without_cache(self) -> Package:
        """The same pipeline, no task of which takes its results from an earlier run.

        Kubeflow's own client switches the cache off for the outermost tasks only, and not at all for uploaded versions.
        """
        return self.with_tasks(lambda tasks: {name: {**task, "cachingOptions": {}} for name, task in tasks.items()})

    def as_json(self) -> Json:
        """As the API takes it."""
        whole = {"pipeline_spec": self.pipeline, "platform_spec": self.platform}
        return whole if self.kubernetes else self.pipeline

    def as_yaml(self) -> str:
        """As a file that can be uploaded."""
        documents = [self.pipeline, self.platform] if self.kubernetes else [self.pipeline]
        return str(yaml.dump_all(documents, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))

    def digest(self) -> str:
        """Short name of the content."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:12]


def compact(package: Package) -> Package:
    """The same pipeline without repetitions, nested pipelines included; of equal parts the first one's name stays.

    Kubeflow's compiler gives each task of an unrolled pipeline a component, an executor and Kubernetes settings of its
    own, although all rounds have the same. The server tells tasks apart by their own names, and the cache by what they
    compute, so tasks may share them. (The local runner names output folders by component: it needs them apart.)
    """
    executors, kubernetes = _without_older_forms(package.executors), _without_older_forms(package.kubernetes)
    labels = _first_of_equals({label: [executors[label], kubernetes.get(label)] for label in executors})
    components = {
        name: {**part, "executorLabel": labels[part["executorLabel"]]} if "executorLabel" in part else part
        for name, part in package.components.items()
    }

    def expanded(component: Json) -> Json:
        """With the components that its tasks use in place of their names."""
        return _with_references(component, lambda task: expanded(components[task["componentRef"]["name"]]))

    names = _first_of_equals({name: expanded(part) for name, part in components.items()})
    kept: dict[str, Json] = {}

    def refer(task: Json) -> Json:
        """To the first of equals, which is kept. The body of a loop stays its task's own, as the server names a
        template after it for each loop, and two of one name are an error.
        """
        own = task["componentRef"]["name"]
        name = own if "parameterIterator" in task or "artifactIterator" in task else names[own]
        if name not in kept:
            kept[name] = _with_references(components[name], refer)
        return {"name": name}

    root = _with_references(package.root, refer)
    for name in filter(is_segment, components):
        kept[name] = _with_references(components[name], refer)
    used = {name: kept[name] for name in components if name in kept}
    firsts = [{name: part for name, part in parts.items() if labels.get(name, name) == name}
              for parts in (executors, kubernetes)]  # fmt: skip
    return Package(package.head, root, used, *firsts)


def join(packages: Mapping[str, Package]) -> Package:
    """One package of the pipelines of a run's segments.

    It runs as the first one; the others are components that no task uses, which the server keeps and does not compile,
    until the segment before starts the pipeline with one of them as its root.

    Args:
        packages: compiled pipeline by its rounds, such as '6-10', in order.
    """
    (_, whole), *others = packages.items()
    for rounds, package in others:
        part = _renamed(package, f"-{rounds}")
        whole = replace(
            whole,
            components={**whole.components, **part.components, component_of(rounds): part.root},
            executors={**whole.executors, **part.executors},
            kubernetes={**whole.kubernetes, **part.kubernetes},
        )
    return whole


def _renamed(package: Package, suffix: str) -> Package:
    """The package with a suffix to the names of its components and executors."""

    def ended(parts: Json) -> Json:
        return {name + suffix: part for name, part in parts.items()}

    part = package.with_tasks(
        lambda tasks: {
            name: {**task, "componentRef": {"name": task["componentRef"]["name"] + suffix}}
            for name, task in tasks.items()
        }
    )
    components = {
        name: {**one, "executorLabel": one["executorLabel"] + suffix} if "executorLabel" in one else one
        for name, one in part.components.items()
    }
    return Package(part.head, part.root, ended(components), ended(part.executors), ended(part.kubernetes))


def _without_older_forms(part: Any) -> Any:
    """A part of executors that says twice what it says for older servers also, said once.

    A constant name of a secret or config map stays as itself, an amount of a resource as a quantity.
    """
    if isinstance(part, list):
        return [_without_older_forms(one) for one in part]
    if not isinstance(part, dict):
        return part

    def said_again(name: str) -> bool:
        if name.endswith("NameParameter"):
            constant = part[name].get("runtimeValue", {}).get("constant")
            return constant is not None and constant == part.get(name.removesuffix("Parameter"))
        return f"resource{name[0].upper()}{name[1:]}" in part

    return {name: _without_older_forms(one) for name, one in part.items() if not said_again(name)}


def _first_of_equals(parts: Mapping[str, Any]) -> dict[str, str]:
    """For each name, the first name with an equal part."""
    first: dict[str, str] = {}
    return {name: first.setdefault(json.dumps(part, sort_keys=True), name) for name, part in parts.items()}


def _with_references(component: Json, refer: Callable[[Json], Json]) -> Json:
    if "dag" not in component:
        return component
    tasks = {name: {**task, "componentRef": refer(task)} for name, task in component["dag"]["tasks"].items()}
    return {**component, "dag": {**component["dag"], "tasks": tasks}}
