"""What runs the tasks of a local run: processes of this machine, or containers; remembered in the working folder."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow.store.files import read_json, write_json
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines import pipeline_of


class RunnerKind(StrEnum):
    """The runners of Kubeflow's local execution."""

    SUBPROCESS = "subprocess"
    DOCKER = "docker"


class TaskRunner(BaseModel):
    """What runs the tasks of a run.

    Attributes:
        kind: which of Kubeflow's local runners.
        images: the stages' images, which are part of what Kubeflow's cache knows a task by; empty where processes use
            none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: RunnerKind = RunnerKind.SUBPROCESS
    images: dict[str, str] = {}

    @property
    def in_containers(self) -> bool:
        return self.kind is RunnerKind.DOCKER


def check_runner(runner: TaskRunner, settings: RunSettings) -> TaskRunner:
    """The runner, its images by the names that the engine knows them by, after a look at all that it needs.

    Raises:
        ContainerError: no engine answers, or images, or rewards or the objective in them, are missing.
    """
    if not runner.in_containers:
        return runner
    from advantageflow_pipelines.local.containers.engine import container_engine, find_images
    from advantageflow_pipelines.local.containers.probe import check_objective, check_rewards

    with container_engine() as client:
        images = find_images(client, runner.images)
        pipeline = pipeline_of(settings)
        check_rewards(client, {stage: images[stage] for stage in pipeline.making_rewards}, settings.reward)
        if pipeline.trainer is not None:
            check_objective(client, {pipeline.trainer: images[pipeline.trainer]}, settings.training.objective)
    return TaskRunner(kind=runner.kind, images=images)


def write_runner(workdir: WorkDir, runner: TaskRunner) -> None:
    """Remember the runner of a run, which is continued by the same."""
    write_json(workdir.runner_file, runner.model_dump(mode="json"))


def read_runner(workdir: WorkDir) -> TaskRunner:
    """The runner of a run.

    Raises:
        StoreError: its file cannot be read.
        SettingsError: its file is damaged.
    """
    if not workdir.runner_file.exists():
        return TaskRunner()
    try:
        return TaskRunner.model_validate(read_json(workdir.runner_file))
    except ValueError as error:
        raise SettingsError("is damaged", where=str(workdir.runner_file), remedy="start a new run") from error
