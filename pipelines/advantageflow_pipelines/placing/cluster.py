"""A run as a cluster gets it: settings, images and resources that fit each other, compiled to one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow.store.files import writing
from advantageflow_pipelines.configuration.named_files import check_no_local_files
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.resources.files import load_resources
from advantageflow_pipelines.placing.resources.fit import default_resources, fit
from advantageflow_pipelines.placing.resources.records import Resources


@dataclass(frozen=True)
class ClusterRun:
    """What is compiled for a cluster.

    Attributes:
        settings: with the processes and nodes that the resources give.
        images: container image of each stage.
        resources: with a number of GPUs for every stage, and the service account that the run is created with.
    """

    settings: RunSettings
    images: Mapping[str, str]
    resources: Resources

    def compile(self, path: Path) -> list[str]:
        """Write the pipeline as Kubeflow IR.

        Returns:
            Paths that are taken to be in the images, each with its setting.

        Raises:
            SettingsError: the file's name does not end in .yaml or .yml, as Kubeflow wants it; or a setting names a
                file of this machine.
            StoreError: the file cannot be written.
        """
        from advantageflow_pipelines.pipelines.building import compile_pipeline

        if path.suffix not in (".yaml", ".yml"):
            remedy = "give a name that ends in .yaml"
            raise SettingsError("Kubeflow takes YAML files only", where=str(path), remedy=remedy)
        in_images = check_no_local_files(self.settings)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            compile_pipeline(self.settings, path, self.images, self.resources)
        return in_images


def cluster_run(settings: RunSettings, images: Mapping[str, str], resources: str | None) -> ClusterRun:
    """The run that a person's options choose.

    Args:
        settings: as chosen.
        images: as chosen.
        resources: preset or file; a preset that suits the settings' device when None.

    Raises:
        SettingsError: there are no such resources, or they do not fit the settings.
    """
    chosen = load_resources(resources or default_resources(settings), pipeline_of(settings))
    fitted, given = fit(settings, chosen)
    return ClusterRun(fitted, images, given)
