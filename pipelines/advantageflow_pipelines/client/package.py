"""A compiled pipeline as it is sent: read from its file, with or without the cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from advantageflow.tracking.continuing import is_segment


@dataclass(frozen=True)
class Package:
    """A pipeline in Kubeflow's own form.

    Attributes:
        pipeline: the pipeline spec.
        platform: the platform spec, what Kubernetes alone is told; empty if there is none.
    """

    pipeline: dict[str, Any]
    platform: dict[str, Any]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.pipeline["pipelineInfo"]["name"])

    def component(self, task: dict[str, Any]) -> dict[str, Any]:
        """The component that a task is of."""
        found: dict[str, Any] = self.pipeline["components"][task["componentRef"]["name"]]
        return found

    def executor(self, component: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a component that is not a pipeline runs: its container, and its Kubernetes settings; {} for none."""
        label = component["executorLabel"]
        container = self.pipeline["deploymentSpec"]["executors"][label].get("container", {})
        return container, self.kubernetes.get(label, {})

    @property
    def kubernetes(self) -> dict[str, Any]:
        """The Kubernetes settings by executor."""
        platform = self.platform.get("platforms", {}).get("kubernetes", {})
        executors: dict[str, Any] = platform.get("deploymentSpec", {}).get("executors", {})
        return executors

    def with_kubernetes(self, executors: dict[str, Any]) -> Package:
        """The package with other Kubernetes settings by executor."""
        if not executors:
            return self
        kubernetes = self.platform["platforms"]["kubernetes"]
        kubernetes = {**kubernetes, "deploymentSpec": {**kubernetes["deploymentSpec"], "executors": executors}}
        platforms = {**self.platform["platforms"], "kubernetes": kubernetes}
        return Package(self.pipeline, {**self.platform, "platforms": platforms})

    @property
    def roots(self) -> list[dict[str, Any]]:
        """What runs: the pipeline's root, and those of the segments that continue it."""
        components = self.pipeline.get("components", {})
        return [self.pipeline["root"], *(part for name, part in components.items() if is_segment(name))]

    def with_root(self, root: dict[str, Any]) -> Package:
        """The pipeline of another root, with the components that it uses alone."""
        used: dict[str, Any] = {}

        def use(component: dict[str, Any]) -> None:
            for task in component.get("dag", {}).get("tasks", {}).values():
                name = task["componentRef"]["name"]
                if name not in used:
                    used[name] = self.component(task)
                    use(used[name])

        use(root)
        return Package({**self.pipeline, "root": root, "components": used}, self.platform)

    def as_json(self) -> dict[str, Any]:
        """As the API takes it."""
        if not self.platform:
            return self.pipeline
        return {"pipeline_spec": self.pipeline, "platform_spec": self.platform}

    def as_yaml(self) -> str:
        """As a file that can be uploaded."""
        documents = [self.pipeline, self.platform] if self.platform else [self.pipeline]
        return str(yaml.dump_all(documents, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))

    def digest(self) -> str:
        """Short name of the content."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:12]

    def without_cache(self) -> Package:
        """The same pipeline, no task of which takes its results from an earlier run.

        Kubeflow's own client switches the cache off for the outermost tasks only, and not at all for uploaded versions.
        """
        components = {name: _without_cache(part) for name, part in self.pipeline.get("components", {}).items()}
        root = _without_cache(self.pipeline["root"])
        return Package({**self.pipeline, "components": components, "root": root}, self.platform)


def read_package(path: Path) -> Package:
    """A pipeline from the file that Kubeflow's compiler wrote."""
    with path.open(encoding="utf-8") as file:
        pipeline, *platform = yaml.load_all(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return Package(pipeline, platform[0] if platform else {})


def _without_cache(component: dict[str, Any]) -> dict[str, Any]:
    if "dag" not in component:
        return component
    tasks = {name: {**task, "cachingOptions": {}} for name, task in component["dag"]["tasks"].items()}
    return {**component, "dag": {**component["dag"], "tasks": tasks}}
