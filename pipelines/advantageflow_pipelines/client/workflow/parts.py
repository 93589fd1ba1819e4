"""A compiled pipeline's parts by name, and text as Kubeflow writes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from advantageflow_pipelines.client.package import Package

Json = dict[str, Any]
ROOT = "root"


def to_text(value: Any) -> str:
    """JSON as Go writes it: compact, sorted, with three characters as escapes."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def parameter(name: str, value: Any, **more: str) -> Json:
    """One of Argo's parameters."""
    return {"name": name, "value": str(value), **more}


@dataclass(frozen=True)
class Parts:
    """Components, containers and Kubernetes settings of a compiled pipeline.

    Attributes:
        package: the pipeline.
    """

    package: Package
    _texts: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)

    def component(self, name: str) -> Json:
        """A component; the pipeline itself is named root."""
        pipeline = self.package.pipeline
        component: Json = pipeline["root"] if name == ROOT else pipeline["components"][name]
        return component

    def container(self, component: Json) -> Json:
        """What a component with an executor runs; empty for an importer."""
        executors = self.package.pipeline["deploymentSpec"]["executors"]
        container: Json = executors[component["executorLabel"]].get("container", {})
        return container

    def kubernetes(self, component: Json) -> Json:
        """The Kubernetes settings of a component with an executor."""
        platforms = self.package.platform.get("platforms", {})
        executors = platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        settings: Json = executors.get(component["executorLabel"], {})
        return settings

    def text(self, kind: Literal["component", "container", "kubernetes"], name: str) -> str:
        """JSON of the `component`, `container` or `kubernetes` of a component, written once."""
        key = (kind, name)
        if key not in self._texts:
            component = self.component(name)
            part = {"component": lambda c: c, "container": self.container, "kubernetes": self.kubernetes}[kind](
                component
            )
            self._texts[key] = to_text(part)
        return self._texts[key]

    def argument(self, name: str) -> str:
        """The name that the server gives a component: a digest of its container, if it has one."""
        component = self.component(name)
        if "executorLabel" not in component:
            return name
        return hashlib.sha256(self.text("container", name).encode()).hexdigest()


def is_exit(task: Json) -> bool:
    """Whether a task runs at the end, whatever came before."""
    return bool(task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED")


def labels_and_retries(task: Json, kubernetes: Json) -> list[Json]:
    """What Argo cannot take from a pod's patch, and Kubeflow passes on as parameters."""
    metadata = kubernetes.get("podMetadata", {})
    found = [
        parameter(f"pod-metadata-{kind}-{part}-{number}", text)
        for kind, field_name in (("annotation", "annotations"), ("label", "labels"))
        for number, pair in enumerate(sorted(metadata.get(field_name, {}).items()), start=1)
        for part, text in zip(("key", "val"), pair, strict=True)
    ]
    policy = task.get("retryPolicy")
    if policy is None:
        return found
    retries = {"max-count": "maxRetryCount", "backoff-duration": "backoffDuration", "backoff-factor": "backoffFactor",
               "backoff-max-duration": "backoffMaxDuration"}  # fmt: skip
    return [*found, *(parameter(f"retry-{name}", policy.get(key, 0)) for name, key in retries.items())]
