"""Following a TrainJob to its end, though a queue may hold it back or suspend it, and the API be away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from advantageflow.training.trainjob.cluster import POLL, Cluster, ClusterAway
from advantageflow.training.trainjob.ending import final_error, is_complete, overdue_error, stuck_error, suspension
from advantageflow.training.trainjob.logs import PodLogs

_PATIENCE = 900  # seconds that the API may be away: the nodes train on

logger = logging.getLogger(__name__)


def follow_to_its_end(cluster: Cluster, name: str, deadline: float, resumed: Callable[[], None]) -> None:
    """Show what the pods of a TrainJob say until the job is complete; one that a queue suspends is waited for.

    Args:
        cluster: of the job.
        name: of the job.
        deadline: seconds until when it must have ended.
        resumed: called when the job may run again after a queue took it off its nodes.

    Raises:
        JobFailed: it failed, with what its pods said last.
        TrainingError: it was deleted by somebody else; or has not ended by its deadline, running or suspended.
        Preempted: a node was taken away.
        ClusterError: the cluster refuses to tell, or is away for long; or a pod can never start.
    """
    where = f"TrainJob {cluster.namespace}/{name}"
    logs, queue = PodLogs(cluster, name), _Queue(name, resumed)
    began = answered = time.monotonic()
    try:
        while True:
            try:
                job, pods = cluster.job(name), cluster.pods(name)
                answered = time.monotonic()
            except ClusterAway as away:
                if time.monotonic() - answered > _PATIENCE:
                    raise
                logger.warning("%s; going on waiting", away.message)
                time.sleep(POLL)
                continue
            logs.follow(pods)
            complete = job is not None and is_complete(job)
            if complete or final_error(where, job, pods) is not None:
                logs.finish()
            if complete:
                return
            error = final_error(where, job, pods, logs.last_lines) or stuck_error(where, pods)
            if error is not None:
                raise error
            if job is not None:
                queue.follow(job, ran=bool(logs.last_lines))
                if time.monotonic() - began > deadline:  # Kubeflow counts anew when a job is resumed
                    raise overdue_error(where, job, deadline / 3600)
            time.sleep(POLL)
    finally:
        logs.stop.set()


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
