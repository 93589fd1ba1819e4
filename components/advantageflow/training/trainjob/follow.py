"""Following a TrainJob to its end, though a queue may hold it back or suspend it, and the API be away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from advantageflow import kubernetes_api
from advantageflow.errors import ClusterError
from advantageflow.training.trainjob.cluster import Cluster
from advantageflow.training.trainjob.ending import (
    final_error,
    is_complete,
    never_error,
    overdue_error,
    stuck_error,
    suspension,
)
from advantageflow.training.trainjob.logs import PodLogs

logger = logging.getLogger(__name__)


def follow_to_its_end(
    cluster: Cluster, name: str, deadline: float, *, resumed: Callable[[], None], event: Callable[[str], None]
) -> None:
    """Show what the pods of a TrainJob say until the job is complete; one that a queue suspends is waited for.

    Args:
        cluster: of the job.
        name: of the job.
        deadline: seconds until when it must have ended.
        resumed: called when the job may run again after a queue took it off its nodes.
        event: called with each event of the nodes' journal, a line of JSON, in threads of their own.

    Raises:
        JobFailed: it failed, with what its pods said last.
        TrainingError: it was deleted by somebody else; or has not ended by its deadline, running or suspended.
        Preempted: a node was taken away.
        ClusterError: the cluster refuses to tell, or is away for long; or a pod can never be made, or never start.
    """
    where = f"TrainJob {cluster.namespace}/{name}"
    logs, queue = PodLogs(cluster, name, event), _Queue(name, resumed)
    began = time.monotonic()
    try:
        while True:
            job, pods = cluster.job(name), cluster.pods(name)
            warning = _warning(cluster, job) if job is not None and not pods else ""
            logs.follow(pods, warning)
            complete = job is not None and is_complete(job)
            if complete or final_error(where, job, pods) is not None:
                logs.finish()
            if complete:
                return
            error = final_error(where, job, pods, logs.last_lines) or stuck_error(where, pods)
            error = error or never_error(where, warning)
            if error is not None:
                raise error
            if job is not None:
                queue.follow(job, ran=bool(logs.last_lines))
                if time.monotonic() - began > deadline:  # Kubeflow counts anew when a job is resumed
                    raise overdue_error(where, job, deadline / 3600)
            time.sleep(kubernetes_api.POLL)
    finally:
        logs.stop.set()


def _warning(cluster: Cluster, job: Mapping[str, Any]) -> str:
    """Why the job has no pods; also that it cannot be told."""
    try:
        return cluster.warning(job["metadata"]["name"], datetime.fromisoformat(job["metadata"]["creationTimestamp"]))
    except ClusterError as error:
        return f"no pods yet, and events cannot be read: {error.message}"


class _Queue:
    """Tells once when a queue such as Kueue holds the job back or suspends it, and once when it lets it run."""

    def __init__(self, job: str, resumed: Callable[[], None]) -> None:
        self._job, self._resumed = job, resumed
        self._is_suspended = self._was_taken_off = False

    def follow(self, job: Mapping[str, Any], ran: bool) -> None:
        """Told of the job, again and again, and whether any of its pods has run yet."""
        why = suspension(job)
        if why is not None and not self._is_suspended:
            self._is_suspended, self._was_taken_off = True, ran
            if ran:
                goes_on = "from its last checkpoint, where training.checkpoint_every keeps some"
                logger.warning(
                    "[%s] is taken off its nodes (%s); waits for its queue to resume it, and goes on %s",
                    self._job, why, goes_on,
                )  # fmt: skip
            else:
                logger.info("[%s] waits for a queue to admit it (%s)", self._job, why)
        elif why is None and self._is_suspended:
            self._is_suspended = False
            logger.info("[%s] is admitted", self._job)
            if self._was_taken_off:
                self._resumed()
