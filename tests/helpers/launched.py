"""A training sent to a cluster, nodes of it that fail, and the rights that it needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes_stub.server import Right

from advantageflow.settings import TrainingSettings
from advantageflow.training.trainjob.launch import train_on_nodes

SETTINGS = TrainingSettings(nodes=2, processes=4)
CREATE_JOB, GET_JOB, DELETE_JOB = (
    Right("trainer.kubeflow.org", "trainjobs", verb) for verb in ("create", "get", "delete")
)
GET_RUNTIME = Right("trainer.kubeflow.org", "trainingruntimes", "get")
LIST_PODS, READ_LOG = Right("", "pods", "list"), Right("", "pods/log", "get")


class Train:
    """Trains on the nodes of a cluster, by what the stage would hand over."""

    def __init__(self, cluster: Any, store: Path, arguments: dict[str, Any]) -> None:
        self._cluster, self._store, self._arguments = cluster, store, arguments

    def __call__(self, task_config: dict[str, Any] | None = None, **changed: Any) -> None:
        train_on_nodes(SETTINGS, str(self._store), self._arguments | changed, task_config)

    def assert_nothing_is_left(self) -> None:
        assert self._cluster.jobs == {}
        assert not list(self._store.rglob("manifest.json"))


def failing(status: int, reason: str, **more: Any) -> Callable[[Any], None]:
    """The second node fails, and then the first one because of it."""

    def run(job: Any) -> None:
        job.pods[0].says("still well")
        job.pods[1].says("first this", "then that")
        job.pods[1].ends(status, reason, **more)
        job.pods[0].says("connection closed by peer")
        job.pods[0].ends(1)
        job.becomes("Failed", "BackoffLimitExceeded", "node-1 failed")

    return run
