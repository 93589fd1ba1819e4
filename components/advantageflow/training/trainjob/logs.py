"""The logs of a TrainJob's pods as they come, and why pods do not start."""

import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from advantageflow import kubernetes_api
from advantageflow.errors import ClusterError
from advantageflow.kubernetes_api import ClusterAway, NotThere
from advantageflow.training.call import SAID_EVENT
from advantageflow.training.trainjob.cluster import Cluster

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_LAST_LINES = 60  # of each pod, for the error
_SECONDS_FOR_LAST_LINES = 10.0

logger = logging.getLogger(__name__)


class PodLogs:
    """Reads the logs of a job's pods, each in a thread of its own, and shows every line once, after the node's name.

    Args:
        event: called with each event of the nodes' journal, which is not shown.

    Attributes:
        stop: set it, and no more lines are shown.
        last_lines: of each pod, by its name.
    """

    def __init__(self, cluster: Cluster, job: str, event: Callable[[str], None]) -> None:
        self.stop = threading.Event()
        self.last_lines: dict[str, deque[str]] = {}
        self._cluster, self._job, self._event = cluster, job, event
        self._ended: set[str] = set()
        self._threads: dict[str, threading.Thread] = {}
        self._told: set[tuple[str, str]] = set()

    def follow(self, pods: list[Any], warning: str) -> None:
        """Told of all pods, again and again, or why there are none: reads the log of those that have begun, tells why
        others have not.
        """
        self._tell("", warning)
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
        """Why a node waits, or the job for all of them; once, whatever the pods of further tries are called."""
        told = (who, re.sub(rf"{re.escape(self._job)}[\w.-]*", "", why))
        if why and told not in self._told:
            self._told.add(told)
            logger.info("[%s] waits: %s", who or self._job, why)

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
                        self._show(pod, node, text)
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
            self.stop.wait(kubernetes_api.POLL)

    def _show(self, pod: str, node: str, line: str) -> None:
        if line.startswith(SAID_EVENT):
            self._event(line.removeprefix(SAID_EVENT))
            return
        self.last_lines[pod].append(line)
        logger.info("[%s] %s", node, line)


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
