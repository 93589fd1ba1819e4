"""What runs the tasks of a local run: this process, processes, or containers; the run's folder remembers which."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from advantageflow.errors import SettingsError, StoreError
from advantageflow.settings import RunSettings
from advantageflow.store.files import read_json, write_json
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines import pipeline_of


class RunnerKind(StrEnum):
    """This process, or the runners of Kubeflow's local execution."""

    INLINE = "inline"
    SUBPROCESS = "subprocess"
    DOCKER = "docker"


def check_images(images: Mapping[str, str], settings: RunSettings) -> dict[str, str]:
    """The stages' images by the names that the engine knows them by, after a look at all that they need.
    Raises ContainerError: no engine answers, or images, or rewards or the objective in them, are missing.
    """
    from advantageflow_pipelines.local.containers import engine

    with engine.container_engine() as client:
        known = engine.find_images(client, images)
        pipeline = pipeline_of(settings)
        engine.check_rewards(client, [known[stage] for stage in pipeline.making_rewards], settings.reward)
        if pipeline.trainer is not None:
            engine.check_objective(client, known[pipeline.trainer], settings.training.objective)
    return known


def default_runner(settings: RunSettings) -> RunnerKind:
    """This process, where the run's pipeline has a form for it."""
    return RunnerKind.SUBPROCESS if pipeline_of(settings).inline is None else RunnerKind.INLINE


def check_inline(settings: RunSettings) -> None:
    """Raises SettingsError where the run's pipeline has no form for one process."""
    if pipeline_of(settings).inline is None:
        message = f"pipeline '{settings.pipeline}' has no form for one process"
        raise SettingsError(message, where="--runner inline", remedy="use --runner subprocess, or give it one")


def write_runner(workdir: WorkDir, kind: RunnerKind, images: Mapping[str, str]) -> None:
    """Remember what runs a run's tasks; images are part of what Kubeflow's cache knows a task by."""
    if kind is not RunnerKind.SUBPROCESS:
        write_json(workdir.runner_file, {"kind": kind, "images": dict(images)})


def is_inline(workdir: WorkDir) -> bool:
    """Whether the stages of a run are run by the process that started it; raises as images_of."""
    return _runner(workdir).get("kind") == RunnerKind.INLINE


def images_of(workdir: WorkDir) -> dict[str, str] | None:
    """The images that a run's containers are of; None where there are none.
    Raises SettingsError: the file that says so is damaged.
    """
    found = _runner(workdir)
    return dict(found["images"]) if found.get("kind") == RunnerKind.DOCKER else None


def _runner(workdir: WorkDir) -> dict[str, Any]:
    if not workdir.runner_file.exists():
        return {}
    try:
        found = dict(read_json(workdir.runner_file))
        return {"kind": RunnerKind(found["kind"]), "images": dict(found["images"])}
    except (LookupError, TypeError, ValueError, StoreError) as error:
        remedy = 'write {"kind": "inline", "images": {}} into it; of a run in containers "docker" and the images'
        raise SettingsError("is damaged", where=str(workdir.runner_file), remedy=remedy) from error
