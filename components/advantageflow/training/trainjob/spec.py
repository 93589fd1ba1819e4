"""The TrainJob of a training over several nodes, as Kubernetes takes it, and what its TrainingRuntime adds.

Written out rather than made by Kubeflow's client, which knows no owner of a job, no environment from secrets, and no
requests that differ from limits. Credentials are not in it: the runtime's pods take them from secrets.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from advantageflow.errors import ClusterError
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV

API_GROUP = "trainer.kubeflow.org"
API_VERSION = "v1alpha1"
RUN_LABEL = "pipeline/runid"  # as Kubeflow names it on the pods of a run
NODE = "node"  # the runtime's replicated job, and the container in it
RUNTIME = "advantageflow-torch"
_TORCHRUN = (
    "--rdzv-conf=timeout=86400",  # seconds: its own ten minutes would fail a job one of whose pods waits for its node
    "--shutdown-timeout=110",  # after SIGTERM, for a last checkpoint: a little less than the runtime gives the pods
)
_MANAGER = "advantageflow.training/stage"
_LABELS = {
    "app.kubernetes.io/name": "advantageflow-training",
    "app.kubernetes.io/component": "training",
    "app.kubernetes.io/part-of": "advantageflow",
    "app.kubernetes.io/managed-by": "kubeflow",
}
PULL_SECRETS_ENV = "ADVANTAGEFLOW_IMAGE_PULL_SECRETS"  # names, with commas between them
_OWN = ("KFP_POD_NAME", "KFP_POD_UID")  # Kubeflow's launcher tells these to its task
_RESOURCES = ("requests", "limits")
_CARRIED = ("ADVANTAGEFLOW_S3_ADDRESSING", PIPELINE_RUN_ENV)


def train_job(
    name: str, image: str, nodes: int, processes: int, call: str, deadline: int, task_config: Mapping[str, Any]
) -> dict[str, Any]:
    """The TrainJob: owned by this task's pod, where it runs in one. It runs the worker on the nodes, in some processes
    on each, with the call at an address, for some seconds at most; Kubeflow's TaskConfig holds for its pods.
    """
    trainer = {
        "image": image,
        "command": ["python", "-m", "torch.distributed.run"],  # told by the runtime's environment of all nodes
        "args": [*_TORCHRUN, "-m", "advantageflow.training.worker", "--arguments", call],
        "numNodes": nodes,
        "numProcPerNode": processes,
        "env": _environment(task_config.get("env") or []),
        "resourcesPerNode": task_config.get("resources"),
    }
    spec = {
        "runtimeRef": {"apiGroup": API_GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
        "activeDeadlineSeconds": deadline,
        "trainer": _without_nothing(trainer),
        "runtimePatches": _patches(task_config),
    }
    run, owner = run_label(), [os.environ.get(variable) for variable in _OWN]
    owners = [{"apiVersion": "v1", "kind": "Pod", "name": owner[0], "uid": owner[1]}] if all(owner) else []
    labels = _LABELS | ({RUN_LABEL: run} if run else {})
    metadata = {"name": name, "labels": labels, "ownerReferences": owners}
    return {
        "apiVersion": f"{API_GROUP}/{API_VERSION}",
        "kind": "TrainJob",
        "metadata": _without_nothing(metadata),
        "spec": _without_nothing(spec),
    }


def run_label() -> str:
    """The pipeline run that this process belongs to, as its jobs' label; "" outside of Kubeflow."""
    run = os.environ.get(PIPELINE_RUN_ENV, "")
    return run if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", run) else ""


def _environment(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The task's environment; what it was told of its own pod goes as the value that it has here."""
    variables = {one["name"]: one for one in given if "fieldRef" not in (one.get("valueFrom") or {})}
    told_of_pod = [one["name"] for one in given if one["name"] not in variables]
    for name in (*_CARRIED, *told_of_pod):
        if name in os.environ:
            variables[name] = {"name": name, "value": os.environ[name]}
    return list(variables.values())


def _patches(task_config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the nodes' pods get beside what the runtime gives them."""
    secrets = filter(None, os.environ.get(PULL_SECRETS_ENV, "").split(","))
    pod = _without_nothing(
        {
            "nodeSelector": task_config.get("node_selector"),
            "tolerations": task_config.get("tolerations"),
            "affinity": task_config.get("affinity"),
            "imagePullSecrets": [{"name": name} for name in secrets],
        }
    )
    if not pod:
        return []
    node = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    return [{"manager": _MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [node]}}}}]


def _without_nothing(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def check_resources(where: str, runtime: Mapping[str, Any], task_config: Mapping[str, Any]) -> None:
    """Check that nodes get what is asked for them, and that Kubernetes can take it, once the runtime's is merged in.

    Args:
        where: the runtime, as errors name it.
        runtime: the TrainingRuntime.
        task_config: Kubeflow's TaskConfig of the training task; where it has no resources, the runtime's hold.

    Raises:
        ClusterError: the runtime has resources that are not asked for, such as another maker's GPUs; or a limit below
            what is requested.
    """
    from kubernetes.utils.quantity import parse_quantity

    asked, own = task_config.get("resources") or {}, _resources(runtime)
    merged = {part: {**(own.get(part) or {}), **(asked.get(part) or {})} for part in _RESOURCES}
    wanted = {name for part in _RESOURCES for name in asked.get(part) or {}}
    added = {name: value for part in _RESOURCES for name, value in merged[part].items() if name not in wanted}
    over = [
        f"{merged['requests'][name]} of {name}, above the limit of {limit}"
        for name, limit in merged["limits"].items()
        if parse_quantity(merged["requests"].get(name, "0")) > parse_quantity(limit)
    ]
    if wanted and added:
        more = ", ".join(f"{name}: {value}" for name, value in added.items())
        message = f"with its own resources a node would ask for {more}, which the training does not"
    elif over:
        message = f"with its own resources a node would ask for {', '.join(over)}, and can never be created"
    else:
        return
    remedy = "apply infra/base/training of this version, whose runtime leaves resources to the training"
    raise ClusterError(message, where=where, remedy=remedy)


def _resources(runtime: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the container that trains."""
    jobs = ((runtime.get("spec") or {}).get("template") or {}).get("spec", {}).get("replicatedJobs", [])
    for job in jobs:
        for container in job["template"]["spec"]["template"]["spec"]["containers"]:
            if container["name"] == NODE:
                return container.get("resources") or {}
    return {}
