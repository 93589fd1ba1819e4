"""A run as a cluster gets it: settings, images and resources that fit each other, compiled to one pipeline."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from advantageflow.settings import RunSettings
from advantageflow_pipelines.client.package import Package, compact, join, read_package
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import Segment
from advantageflow_pipelines.placing.resources.files import load_resources
from advantageflow_pipelines.placing.resources.fit import default_resources, fit
from advantageflow_pipelines.placing.resources.stage_resources import Resources


@dataclass(frozen=True)
class ClusterRun:
    """What is compiled for a cluster."""

    settings: RunSettings  # with the processes and nodes that the resources give
    images: Mapping[str, str]  # container image of each stage
    resources: Resources  # with a number of GPUs for every stage, and the service account that the run is created with
    # the pipeline runs that continue each other, in a run that is too long for one; else empty
    segments: tuple[Segment, ...] = ()

    def package(self) -> Package:
        """The pipeline, compiled, with nothing in it twice."""
        from advantageflow_pipelines.pipelines.building import compile_pipeline

        packages = {}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pipeline.yaml"
            for segment in self.segments or (None,):
                compile_pipeline(self.settings, file, self.images, self.resources, segment=segment)
                packages[segment.rounds if segment else ""] = read_package(file)
        return compact(join(packages))

    def with_settings(self, **changes: Any) -> Self:
        """The same run as a whole with other settings, such as `rounds=1` or `rollout={"shards": 2}`."""
        sections = {
            name: getattr(self.settings, name).model_copy(update=value) if isinstance(value, dict) else value
            for name, value in changes.items()
        }
        return replace(self, settings=self.settings.model_copy(update=sections), segments=())


def cluster_run(settings: RunSettings, images: Mapping[str, str], resources: str | None) -> ClusterRun:
    """The run that a person's options choose.
    Raises SettingsError: there are no such resources, or they do not fit the settings.

    Args:
        resources: preset or file; a preset that suits the settings' device when None.
    """
    chosen = load_resources(resources or default_resources(settings), pipeline_of(settings))
    fitted, given = fit(settings, chosen)
    return ClusterRun(fitted, images, given)
