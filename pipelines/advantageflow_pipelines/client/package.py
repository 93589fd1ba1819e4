"""A compiled pipeline as it is sent: read from its file, within what a cluster can hold, with or without the cache."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of

OBJECT_LIMIT = 1_572_864  # bytes: what etcd, and so Kubernetes, takes of one object, such as Argo's workflow of a run
MANY_TASKS = 200  # a run's workflow grows by each task that has run; ten rounds of eight shards have 175


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


def check_size(package: Package, settings: RunSettings) -> str | None:
    """Check that a cluster can hold the run.

    Returns:
        A warning, if it may become too large while it runs.

    Raises:
        SettingsError: it is too large to be started; says how many rounds fit.
    """
    size = len(json.dumps(package.as_json()).encode())
    if size > OBJECT_LIMIT:
        fit = max(1, math.floor(settings.rounds * OBJECT_LIMIT / size))
        message = (
            f"{settings.rounds} rounds are {size:,} bytes of pipeline; Kubernetes holds {OBJECT_LIMIT:,} in one object"
        )
        remedy = f"run at most {fit} rounds, and continue from the last policy with --init-policy in the next run"
        raise SettingsError(message, where="rounds", remedy=remedy)
    tasks = count_tasks(settings)
    if tasks <= MANY_TASKS:
        return None
    return (
        f"{tasks} tasks are many for one run: Kubernetes may not hold its state to the end. Fewer rounds or shards are "
        "safer; continue from the last policy with --init-policy in the next run"
    )


def count_tasks(settings: RunSettings) -> int:
    """Tasks with a container of their own in a run: those of its stages, and the opening and closing one."""
    return 2 + sum(pipeline_of(settings).tasks(settings).values())


def _without_cache(component: dict[str, Any]) -> dict[str, Any]:
    if "dag" not in component:
        return component
    tasks = {name: {**task, "cachingOptions": {}} for name, task in component["dag"]["tasks"].items()}
    return {**component, "dag": {**component["dag"], "tasks": tasks}}
