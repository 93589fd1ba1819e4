"""What a TrainingRuntime adds to the resources that a TrainJob asks for: Kubeflow Trainer merges the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advantageflow.errors import ClusterError
from advantageflow.training.trainjob.spec import NODE

_PARTS = ("requests", "limits")


def check_resources(where: str, runtime: Mapping[str, Any], task_config: Mapping[str, Any]) -> None:
    """Check that nodes get what is asked for them, and that Kubernetes can take it.

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
    merged = {part: {**(own.get(part) or {}), **(asked.get(part) or {})} for part in _PARTS}
    wanted = {name for part in _PARTS for name in asked.get(part) or {}}
    added = {name: value for part in _PARTS for name, value in merged[part].items() if name not in wanted}
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
