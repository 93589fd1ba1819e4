"""What runs the tasks of a local run: this process, processes, or containers; the run's folder remembers which."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

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


class Runner(NamedTuple):
    """What runs the tasks of a run."""

    kind: RunnerKind
    images: Mapping[str, str] = {}  # of the stages' containers; empty where there are none


def check_images(images: Mapping[str, str], settings: RunSettings) -> dict[str, str]:
    """The stages' images by the names that the engine knows them by, after a look at all that they need.
    Raises ContainerError: no engine answers, or images, or rewards or the objective in them, are missing.
    """
    from advantageflow_pipelines.local.containers import engine

    with engine.container_engine() as client:
        known = engine.find_images(client, images)
        engine.check_own(client, known, settings)
    return known


def choose_runner(settings: RunSettings, asked: RunnerKind | None) -> RunnerKind:
    """The runner that was asked for; else this process, where the run's pipeline has a form for it.
    Raises SettingsError: this process was asked for, and there is no such form.
    """
    inline = pipeline_of(settings).inline is not None
    if asked is RunnerKind.INLINE and not inline:
        message = f"pipeline '{settings.pipeline}' has no form for one process"
        raise SettingsError(message, where="--runner inline", remedy="use --runner subprocess, or give it one")
    return asked or (RunnerKind.INLINE if inline else RunnerKind.SUBPROCESS)


def write_runner(workdir: WorkDir, runner: Runner) -> None:
    """Remember what runs a run's tasks; images are part of what Kubeflow's cache knows a task by."""
    write_json(workdir.runner_file, runner._asdict())


def read_runner(workdir: WorkDir) -> Runner:
    """What runs a run's tasks: processes, where nothing is remembered.
    Raises SettingsError: the file that says so is damaged.
    """
    if not workdir.runner_file.exists():
        return Runner(RunnerKind.SUBPROCESS)
    try:
        found = read_json(workdir.runner_file)
        return Runner(RunnerKind(found["kind"]), dict(found["images"]))
    except (LookupError, TypeError, ValueError, StoreError) as error:
        remedy = 'write {"kind": "inline", "images": {}} into it; of a run in containers "docker" and the images'
        raise SettingsError("is damaged", where=str(workdir.runner_file), remedy=remedy) from error
