"""Resources of a stage, put on a task of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advantageflow.component import reads_environment
from advantageflow.task import ENVIRONMENT_FOLDER
from advantageflow_pipelines.placing.resources.stage_resources import (
    CONFIG_MAP,
    HF_SECRET,
    S3_SECRET,
    Retries,
    StageResources,
)

if TYPE_CHECKING:
    from kfp import dsl

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - of a container, which is its own
SCRATCH = "/scratch"
_WEEK = 7 * 86_400  # of attempts that have no timeout: longer than any run should take


def apply_resources(task: dsl.PipelineTask, stage: str, resources: StageResources, *, as_folders: bool = True) -> None:
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


def _environment(task: dsl.PipelineTask, resources: StageResources, *, as_folders: bool) -> None:
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


def _attempts(task: dsl.PipelineTask, resources: StageResources) -> None:
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
