"""What runs the tasks of a local run: processes of this machine, or containers, whose images its folder remembers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow.store.files import read_json, write_json
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines import pipeline_of


class RunnerKind(StrEnum):
    """The runners of Kubeflow's local execution."""

    SUBPROCESS = "subprocess"
    DOCKER = "docker"


def check_images(images: Mapping[str, str], settings: RunSettings) -> dict[str, str]:
    """The stages' images by the names that the engine knows them by, after a look at all that they need.

    Raises:
        ContainerError: no engine answers, or images, or rewards or the objective in them, are missing.
    """
    from advantageflow_pipelines.local.containers.engine import container_engine, find_images
    from advantageflow_pipelines.local.containers.probe import check_objective, check_rewards

    with container_engine() as client:
        known = find_images(client, images)
        pipeline = pipeline_of(settings)
        check_rewards(client, [known[stage] for stage in pipeline.making_rewards], settings.reward)
        if pipeline.trainer is not None:
            check_objective(client, known[pipeline.trainer], settings.training.objective)
    return known


def write_images(workdir: WorkDir, images: Mapping[str, str]) -> None:
    """Remember the images of a run in containers: part of what Kubeflow's cache knows a task by."""
    write_json(workdir.runner_file, {"kind": RunnerKind.DOCKER, "images": dict(images)})


def images_of(workdir: WorkDir) -> dict[str, str] | None:
    """The images that a run's containers are of; None where its tasks are processes.

    Raises:
        StoreError: the file that says so cannot be read.
        SettingsError: it is damaged.
    """
    if not workdir.runner_file.exists():
        return None
    try:
        return dict(read_json(workdir.runner_file)["images"])
    except (LookupError, TypeError, ValueError) as error:
        raise SettingsError("is damaged", where=str(workdir.runner_file), remedy="start a new run") from error
