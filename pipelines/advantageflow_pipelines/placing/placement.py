"""Where a task of the pipeline runs: its image, and on a cluster its resources and its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from advantageflow.annotations import PipelineTask
from advantageflow.component import reads_environment
from advantageflow.settings import RunSettings
from advantageflow.store.s3 import is_s3
from advantageflow.task import ENVIRONMENT_FOLDER
from advantageflow.tracking import pipeline_run
from advantageflow.tracking.mlflow_store import DEFAULT_EXPERIMENT, EXPERIMENT_ENV
from advantageflow.tracking.registry import is_registered
from advantageflow_pipelines.pipelines.definition import Segment
from advantageflow_pipelines.placing.resources.stage_resources import (
    CONFIG_MAP,
    HF_SECRET,
    S3_SECRET,
    Resources,
    Retries,
    StageResources,
)

_ASKS_KUBEFLOW = "access-ml-pipeline"  # label of pods to which a Kubeflow of several users gives a token for its API
_RUN_LABEL = "metadata.labels['pipeline/runid']"  # which Kubeflow gives the pods of a run


@dataclass(frozen=True)
class Placement:
    """Places the tasks of one run."""

    settings: RunSettings  # of the run
    images: Mapping[str, str]  # container image of each stage
    resources: Resources | None  # what each stage gets of a cluster, as `fit` gives; None on one machine
    segment: Segment | None = None  # of the run, that they are the tasks of; None for all of it

    @property
    def on_nodes(self) -> bool:
        """Whether training is handed over to several nodes."""
        return self.resources is not None and self.resources.nodes > 1

    @property
    def in_order(self) -> bool:
        """Whether nothing runs beside a round: one machine has nothing to gain from that, and stops at the first
        failure this way.
        """
        return self.resources is None

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

    def place(self, stage: str, task: PipelineTask, *, cached: bool = True, image: str = "") -> PipelineTask:
        """The task of a stage, placed.

        Args:
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
        self, name: Literal["opening", "continuing", "closing"], task: PipelineTask, stage: str
    ) -> PipelineTask:
        """A task on a cluster that is not a stage's, placed in the image of one, with little of everything."""
        assert self.resources is not None
        if name == "opening":
            task.set_env_variable(pipeline_run.REGISTERED_MODEL_ENV, self.settings.registered_model)
            task.set_env_variable(pipeline_run.IMAGES_ENV, " ".join(dict.fromkeys(self.images.values())))
        elif name == "closing" and self.on_nodes:
            self._tell_namespace(task)
        small = {"gpus": 0, "cpu": "250m", "cpu_limit": None, "memory": "1Gi", "memory_limit": None}
        small |= {"shared_memory": None, "scratch": None, "timeout_seconds": 1800}
        first = next(iter(self.resources.stages.values()))
        small["secrets"] = tuple(one for one in first.secrets if one != HF_SECRET)
        apply_resources(task, name, first.model_copy(update=small))
        self._tell(task)
        self.asks_kubeflow(task).set_env_variable(
            pipeline_run.PRESET_ENV, self.settings.preset
        )  # by which MLflow's run is named
        for variable, text in (
            (pipeline_run.NAME_ENV, self.settings.tracking.name),
            (pipeline_run.NOTE_ENV, self.settings.tracking.note),
        ):
            if text:
                task.set_env_variable(variable, text)
        task.set_caching_options(False)  # what it does lies outside the pipeline
        return task.set_container_image(self.images[stage])

    @staticmethod
    def asks_kubeflow(task: PipelineTask) -> PipelineTask:
        """The task on a cluster, allowed to ask Kubeflow's API."""
        from kfp import kubernetes

        return kubernetes.add_pod_label(task, _ASKS_KUBEFLOW, "true")

    def _tell(self, task: PipelineTask) -> None:
        """Environment by which the task finds its place in MLflow; parameters would be part of the cache's key."""
        from kfp import kubernetes

        kubernetes.use_field_path_as_env(task, pipeline_run.PIPELINE_RUN_ENV, _RUN_LABEL)
        if self.settings.tracking.experiment != DEFAULT_EXPERIMENT:
            task.set_env_variable(EXPERIMENT_ENV, self.settings.tracking.experiment)

    def _tell_nodes(self, task: PipelineTask, stage: str, given: StageResources) -> None:
        """Environment from which the task makes its TrainJob."""
        task.set_env_variable("ADVANTAGEFLOW_TRAINING_IMAGE", self.images[stage])
        if given.timeout_seconds is not None:
            task.set_env_variable("ADVANTAGEFLOW_TRAINING_TIMEOUT", str(given.timeout_seconds))
        if given.image_pull_secrets:  # which Kubeflow does not pass through
            task.set_env_variable("ADVANTAGEFLOW_IMAGE_PULL_SECRETS", ",".join(given.image_pull_secrets))
        self._tell_namespace(task)

    def _tell_namespace(self, task: PipelineTask) -> None:
        """Environment by which the task finds its TrainJobs."""
        from kfp import kubernetes

        kubernetes.use_field_path_as_env(task, "ADVANTAGEFLOW_NAMESPACE", "metadata.namespace")


SHARED_MEMORY = "/dev/shm"  # noqa: S108 - of a container, which is its own
SCRATCH = "/scratch"
_WEEK = 7 * 86_400  # of attempts that have no timeout: longer than any run should take


def apply_resources(task: PipelineTask, stage: str, resources: StageResources, *, as_folders: bool = True) -> None:
    """Have the task run with these resources.

    Kubeflow has no place for a priority class or for ephemeral storage as a resource: tasks have the cluster's default
    class, and the second is a size limit on a scratch folder.

    Args:
        task: the task; it runs in pods of the 'restricted' security standard (Kubeflow's own default adds the rest:
            no privilege escalation, seccomp's default profile).
        stage: its stage, as a label.
        resources: with a number of GPUs, as `fit` gives.
        as_folders: whether the project's own secrets and config map may come as folders, which `advantageflow.task`
            reads: Argo keeps an entry for each variable a dozen times, and one for a folder.
    """
    from kfp import kubernetes

    task.set_cpu_request(resources.cpu)
    if resources.cpu_limit is not None:
        task.set_cpu_limit(resources.cpu_limit)
    task.set_memory_request(resources.memory)
    task.set_memory_limit(resources.memory_limit or resources.memory)
    if resources.gpus:
        task.set_accelerator_type(resources.gpu_type)
        task.set_accelerator_limit(resources.gpus)
    for label, value in resources.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in resources.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump())
    # Empty folders, which a pod that is not root may write, as it may not a claimed volume.
    if resources.shared_memory is not None:
        kubernetes.empty_dir_mount(task, "shared-memory", SHARED_MEMORY, "Memory", resources.shared_memory)
    if resources.scratch is not None:
        kubernetes.empty_dir_mount(task, "scratch", SCRATCH, size_limit=resources.scratch)
        task.set_env_variable("XDG_CACHE_HOME", f"{SCRATCH}/cache")  # the hub's folder lies in it
    kubernetes.set_security_context(task, run_as_non_root=True)
    if resources.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(resources.image_pull_secrets))
    for label, value in {"component": stage, "part-of": "advantageflow"}.items():  # few: Argo keeps each eight times
        kubernetes.add_pod_label(task, f"app.kubernetes.io/{label}", value)
    _environment(task, resources, as_folders=as_folders and reads_environment(task))
    _attempts(task, resources)


def _environment(task: PipelineTask, resources: StageResources, *, as_folders: bool) -> None:
    from kfp import kubernetes

    for one in resources.secrets:
        if as_folders and one in (S3_SECRET, HF_SECRET):
            kubernetes.use_secret_as_volume(task, one.name, f"{ENVIRONMENT_FOLDER}/{one.name}", optional=one.optional)
        else:
            kubernetes.use_secret_as_env(task, one.name, one.keys, optional=one.optional)
    for one in resources.config_maps:
        if as_folders and one == CONFIG_MAP:
            folder = f"{ENVIRONMENT_FOLDER}/{one.name}"
            kubernetes.use_config_map_as_volume(task, one.name, folder, optional=one.optional)
        else:
            kubernetes.use_config_map_as_env(task, one.name, one.keys, optional=one.optional)


def _attempts(task: PipelineTask, resources: StageResources) -> None:
    from kfp import kubernetes

    retries = resources.retries
    if resources.timeout_seconds is not None:
        kubernetes.set_timeout(task, resources.timeout_seconds)
    if retries.count:
        task.set_retry(
            retries.count,
            backoff_duration=f"{retries.backoff_seconds}s",
            backoff_factor=float(retries.factor),
            backoff_max_duration=f"{retries.deadline_seconds or deadline(retries, resources.timeout_seconds)}s",
        )


def deadline(retries: Retries, timeout_seconds: int | None) -> int:
    """Seconds that all attempts and the waits between them may take together.

    Argo counts its maximum duration from the first attempt's start and ends a later attempt at it; Kubeflow sets it to
    an hour if it is not told, in which no training that was interrupted would come to its end.
    """
    waits = sum(retries.backoff_seconds * retries.factor**number for number in range(retries.count))
    return waits + (retries.count + 1) * (timeout_seconds or _WEEK)
