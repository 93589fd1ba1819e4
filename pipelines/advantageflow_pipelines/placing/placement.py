"""Where a task of the pipeline runs: its image, and on a cluster its resources and its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from advantageflow.settings import RunSettings
from advantageflow.store.s3 import is_s3
from advantageflow.tracking.mlflow_store import DEFAULT_EXPERIMENT, EXPERIMENT_ENV
from advantageflow.tracking.pipeline_run import (
    IMAGES_ENV,
    NAME_ENV,
    NOTE_ENV,
    PIPELINE_RUN_ENV,
    PRESET_ENV,
    REGISTERED_MODEL_ENV,
)
from advantageflow.tracking.registry import is_registered
from advantageflow_pipelines.pipelines.segments import Segment
from advantageflow_pipelines.placing.resources.apply import apply_resources
from advantageflow_pipelines.placing.resources.stage_resources import HF_SECRET, Resources, StageResources

if TYPE_CHECKING:
    from kfp import dsl

_ASKS_KUBEFLOW = "access-ml-pipeline"  # label of pods to which a Kubeflow of several users gives a token for its API
_RUN_LABEL = "metadata.labels['pipeline/runid']"  # which Kubeflow gives the pods of a run


@dataclass(frozen=True)
class Placement:
    """Places the tasks of one run.

    Attributes:
        settings: of the run.
        images: container image of each stage.
        resources: what each stage gets of a cluster, as `fit` gives; None on one machine.
        segment: of the run, that they are the tasks of; None for all of it.
    """

    settings: RunSettings
    images: Mapping[str, str]
    resources: Resources | None
    segment: Segment | None = None

    @property
    def on_nodes(self) -> bool:
        """Whether training is handed over to several nodes."""
        return self.resources is not None and self.resources.nodes > 1

    @property
    def reads_addresses(self) -> bool:
        """Whether the run begins from what somebody may replace at the same address."""
        settings = self.settings
        policy = settings.init_policy or ""
        return is_registered(policy) or any(map(is_s3, (settings.prompts.source, settings.model.name, policy)))

    @property
    def made_for_a_run(self) -> dict[str, str]:
        """What a task on a cluster is given that reads an address: its results are for this run, and for one that makes
        what is missing of it (`runs retry`).
        """
        if self.resources is None or not self.reads_addresses:
            return {}
        from kfp import dsl

        return {"made_for": dsl.PIPELINE_JOB_ID_PLACEHOLDER}

    def place(self, stage: str, task: dsl.PipelineTask, *, cached: bool = True, image: str = "") -> dsl.PipelineTask:
        """The task of a stage, placed.

        Args:
            stage: of the pipeline.
            task: its task.
            cached: whether it may take its results from an earlier run on this machine; not where it reads an address,
                which is all of what lies there that the cache's key has. On a cluster see `made_for_a_run`.
            image: another stage, whose image it runs in.
        """
        task.set_container_image(self.images[image or stage])
        if not cached and self.resources is None:
            task.set_caching_options(False)
        if self.resources is None:
            return task
        given = self.resources.of(stage)
        hands_on = self.on_nodes and stage == self.resources.trainer  # to the nodes: its environment, and no folders
        if hands_on:
            given = given.model_copy(update={"shared_memory": None, "scratch": None})
            self._tell_nodes(task, stage, given)
        apply_resources(task, stage, given, as_folders=not hands_on)
        self._tell(task)
        return task

    def place_own(
        self, name: Literal["opening", "continuing", "closing"], task: dsl.PipelineTask, stage: str
    ) -> dsl.PipelineTask:
        """A task on a cluster that is not a stage's, placed in the image of one, with little of everything."""
        from kfp import kubernetes

        assert self.resources is not None
        if name == "opening":
            task.set_env_variable(REGISTERED_MODEL_ENV, self.settings.registered_model)
            task.set_env_variable(IMAGES_ENV, " ".join(dict.fromkeys(self.images.values())))
        elif name == "closing" and self.on_nodes:
            self._tell_namespace(task)
        small = {"gpus": 0, "cpu": "250m", "cpu_limit": None, "memory": "1Gi", "memory_limit": None}
        small |= {"shared_memory": None, "scratch": None, "timeout_seconds": 1800}
        first = next(iter(self.resources.stages.values()))
        small["secrets"] = tuple(one for one in first.secrets if one != HF_SECRET)
        apply_resources(task, name, first.model_copy(update=small))
        self._tell(task)
        kubernetes.add_pod_label(task, _ASKS_KUBEFLOW, "true")
        task.set_env_variable(PRESET_ENV, self.settings.preset)  # by which MLflow's run is named
        for variable, text in ((NAME_ENV, self.settings.tracking.name), (NOTE_ENV, self.settings.tracking.note)):
            if text:
                task.set_env_variable(variable, text)
        task.set_caching_options(False)  # what it does lies outside the pipeline
        return task.set_container_image(self.images[stage])

    def _tell(self, task: dsl.PipelineTask) -> None:
        """Environment by which the task finds its place in MLflow; parameters would be part of the cache's key."""
        from kfp import kubernetes

        kubernetes.use_field_path_as_env(task, PIPELINE_RUN_ENV, _RUN_LABEL)
        if self.settings.tracking.experiment != DEFAULT_EXPERIMENT:
            task.set_env_variable(EXPERIMENT_ENV, self.settings.tracking.experiment)

    def _tell_nodes(self, task: dsl.PipelineTask, stage: str, given: StageResources) -> None:
        """Environment from which the task makes its TrainJob."""
        task.set_env_variable("ADVANTAGEFLOW_TRAINING_IMAGE", self.images[stage])
        if given.timeout_seconds is not None:
            task.set_env_variable("ADVANTAGEFLOW_TRAINING_TIMEOUT", str(given.timeout_seconds))
        if given.image_pull_secrets:  # which Kubeflow does not pass through
            task.set_env_variable("ADVANTAGEFLOW_IMAGE_PULL_SECRETS", ",".join(given.image_pull_secrets))
        self._tell_namespace(task)

    def _tell_namespace(self, task: dsl.PipelineTask) -> None:
        """Environment by which the task finds its TrainJobs."""
        from kfp import kubernetes

        kubernetes.use_field_path_as_env(task, "ADVANTAGEFLOW_NAMESPACE", "metadata.namespace")
