"""Following a TrainJob: its pods' logs as they come, why it or a pod does not start, and how the job ends."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from advantageflow.errors import ClusterError, UserError
from advantageflow.training.trainjob.admission import Admission
from advantageflow.training.trainjob.cluster import POLL, Cluster, ClusterAway, NotThere
from advantageflow.training.trainjob.ending import final_error, is_complete, overdue_error, stuck_error

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_PATIENCE = 900  # seconds that the API may be away: the nodes train on
_LAST_LINES = 60  # of each pod, for the error
_SECONDS_FOR_LAST_LINES = 10.0

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
    logs, admission = PodLogs(cluster, name), Admission(name, resumed)
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
            if job is not None and is_complete(job):
                logs.finish()
                return
            error = _error(cluster, name, job, pods, logs)
            if error is not None:
                raise error
            if job is not None:
                admission.follow(job, ran=bool(logs.last_lines))
                if time.monotonic() - began > deadline:  # Kubeflow counts anew when a job is resumed
                    raise overdue_error(_where(cluster, name), job, deadline / 3600)
            time.sleep(POLL)
    finally:
        logs.stop.set()


def _error(cluster: Cluster, name: str, job: dict[str, Any] | None, pods: list[Any], logs: PodLogs) -> UserError | None:
    """Why there is nothing to wait for; None where there is."""
    where = _where(cluster, name)
    error = final_error(where, job, pods)
    if error is None:
        return stuck_error(where, pods)
    logs.finish()
    return final_error(where, job, pods, logs.last_lines)


def _where(cluster: Cluster, name: str) -> str:
    return f"TrainJob {cluster.namespace}/{name}"


class PodLogs:
    """Reads the logs of a job's pods, each in a thread of its own, and shows every line once, after the node's name.

    Attributes:
        stop: set it, and no more lines are shown.
        last_lines: of each pod, by its name.
    """

    def __init__(self, cluster: Cluster, job: str) -> None:
        self.stop = threading.Event()
        self.last_lines: dict[str, deque[str]] = {}
        self._cluster, self._job = cluster, job
        self._ended: set[str] = set()
        self._threads: dict[str, threading.Thread] = {}
        self._waiting: dict[str, str] = {}

    def follow(self, pods: list[Any]) -> None:
        """Told of all pods, again and again: reads the log of those that have begun, tells why others have not."""
        if not pods:
            self._tell("", self._warning())
        for pod in pods:
            name, phase = pod.metadata.name, pod.status.phase
            if phase in ("Succeeded", "Failed"):
                self._ended.add(name)
            if phase == "Pending":
                self._tell(node_of(pod), waits_for(pod))
            elif name not in self._threads:
                self.last_lines[name] = deque(maxlen=_LAST_LINES)
                thread = threading.Thread(target=self._read, args=(name, node_of(pod)), daemon=True)
                self._threads[name] = thread
                thread.start()

    def finish(self) -> None:
        """The pods have ended: wait for their last lines, though not for long."""
        self._ended.update(self._threads)
        deadline = time.monotonic() + _SECONDS_FOR_LAST_LINES
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _tell(self, who: str, why: str) -> None:
        """Why a node waits, or the job for all of them; once."""
        if why and why != self._waiting.get(who):
            self._waiting[who] = why
            logger.info("[%s] waits: %s", who or self._job, why)

    def _warning(self) -> str:
        try:
            return self._cluster.warning(self._job)
        except ClusterError as error:
            return f"no pods yet, and events cannot be read: {error.message}"

    def _read(self, pod: str, node: str) -> None:
        """Read to the end of the pod, again from the last line when the connection ends before it."""
        last, read_at = "", None
        while not self.stop.is_set():
            resumed_after = last
            seconds = None if read_at is None else math.ceil(time.monotonic() - read_at) + 5
            over = pod in self._ended
            try:
                for line in self._cluster.log_lines(pod, seconds):
                    if self.stop.is_set():
                        return
                    at, _, text = line.partition(" ")
                    read_at = time.monotonic()
                    if at > resumed_after:
                        last = at
                        self.last_lines[pod].append(text)
                        logger.info("[%s] %s", node, text)
            except NotThere:
                return
            except ClusterAway:
                over = False
            except ClusterError as error:
                if "waiting to start" not in error.message:
                    logger.warning("[%s] %s", node, error)
                    return
            if over:
                return
            self.stop.wait(POLL)


def node_of(pod: Any) -> str:
    """A pod's name for people: node-0 is where the first process runs."""
    return f"node-{(pod.metadata.labels or {}).get(_INDEX_LABEL, pod.metadata.name)}"


def waits_for(pod: Any) -> str:
    """Why a pod has not started, as far as the cluster tells."""
    for status in pod.status.container_statuses or []:
        waiting = status.state.waiting if status.state else None
        if waiting is not None and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting.reason}: {waiting.message or ''}".rstrip(": ")
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}: {condition.message or ''}".rstrip(": ")
    return ""
