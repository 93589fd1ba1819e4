"""The logs of a TrainJob's pods as they grow, and why pods do not start."""

import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from advantageflow.errors import ClusterError
from advantageflow.kubernetes_api import ClusterAway, NotThere
from advantageflow.training.call import SAID_EVENT
from advantageflow.training.trainjob.cluster import Cluster

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_LAST_LINES = 60  # of each pod, for the error
_OVERLAP = 5  # seconds of a log that are read again, as clocks and requests take their time

logger = logging.getLogger(__name__)


class PodLogs:
    """Shows every line that a job's pods say once, after the node's name.

    Args:
        event: called with each event of the nodes' journal, which is not shown.

    Attributes:
        last_lines: of each pod, by its name.
        unread: pods whose logs could not be read the last time, as the API or a node was away.
    """

    def __init__(self, cluster: Cluster, job: str, event: Callable[[str], None]) -> None:
        self.last_lines: dict[str, deque[str]] = {}
        self.unread: set[str] = set()
        self._cluster, self._job, self._event = cluster, job, event
        self._read: dict[str, tuple[str, float]] = {}  # time of a pod's last line, and the clock as its log was read
        self._told: set[tuple[str, str]] = set()

    def follow(self, pods: list[Any], warning: str) -> None:
        """Told of all pods, again and again, or why there are none: shows what those that have begun have said since,
        tells why others have not.
        """
        self._tell("", warning)
        self.unread.clear()
        for pod in pods:
            if pod.status.phase == "Pending":
                self._tell(node_of(pod), waits_for(pod))
            else:
                self._show(pod.metadata.name, node_of(pod))

    def _tell(self, who: str, why: str) -> None:
        """Why a node waits, or the job for all of them; once, whatever the pods of further tries are called."""
        told = (who, re.sub(rf"{re.escape(self._job)}[\w.-]*", "", why))
        if why and told not in self._told:
            self._told.add(told)
            logger.info("[%s] waits: %s", who or self._job, why)

    def _show(self, pod: str, node: str) -> None:
        """What a pod has said since its log was read last; what cannot be read now is read the next time."""
        kept = self.last_lines.setdefault(pod, deque(maxlen=_LAST_LINES))
        last, before = self._read.get(pod, ("", None))
        clock = time.monotonic()
        try:
            lines = self._cluster.log_lines(pod, None if before is None else math.ceil(clock - before) + _OVERLAP)
        except ClusterAway:
            self.unread.add(pod)
            return
        except NotThere:
            return
        except ClusterError as error:
            if "waiting to start" not in error.message and (pod, error.message) not in self._told:
                self._told.add((pod, error.message))
                logger.warning("[%s] %s", node, error)
            return
        for at, _, text in (line.partition(" ") for line in lines):
            if at <= last:
                continue
            if text.startswith(SAID_EVENT):
                self._event(text.removeprefix(SAID_EVENT))
            else:
                kept.append(text)
                logger.info("[%s] %s", node, text)
        self._read[pod] = (max([last, *(line.partition(" ")[0] for line in lines[-1:])]), clock)


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
