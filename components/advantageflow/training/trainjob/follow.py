"""Following a TrainJob to its end, though a queue may hold it back or suspend it, and the API be away.

How it ended, or why it cannot begin or go on, becomes the one error that a person sees.
"""

import logging
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from advantageflow import kubernetes_api
from advantageflow.errors import ClusterError, Preempted, TrainingError, UserError
from advantageflow.training.trainjob.cluster import Cluster
from advantageflow.training.trainjob.logs import PodLogs

_NEVER = {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "ImagePullBackOff", "ErrImagePull"}
_LAST_TRIES = 10  # to read the logs of pods that have ended, and what their journals say there
_PATIENCE = 900  # seconds: a registry may be away, a secret may come later
_INVALID = re.compile(r"\bis invalid:|violates PodSecurity|Unsupported value")  # whoever tries, and however often
_AGAIN = "run it again: it goes on from the last checkpoint, where training.checkpoint_every keeps some"
_SIGNALLED = 128  # exit status of a process that a signal ended, less the signal
_KILLED = _SIGNALLED + signal.SIGKILL

logger = logging.getLogger(__name__)


class JobFailed(TrainingError):
    """Kubernetes says that the job failed; the process that made it fail may have said why."""


def follow_to_its_end(
    cluster: Cluster, name: str, deadline: float, *, resumed: Callable[[], None], event: Callable[[str], None]
) -> None:
    """Show what the pods of a TrainJob say until the job is complete; one that a queue suspends is waited for.

    Args:
        deadline: seconds until when it must have ended.
        resumed: called when the job may run again after a queue took it off its nodes.
        event: called with each event of the nodes' journal, a line of JSON.

    Raises:
        JobFailed: it failed, with what its pods said last.
        TrainingError: it was deleted by somebody else; or has not ended by its deadline, running or suspended.
        Preempted: a node was taken away.
        ClusterError: the cluster refuses to tell, or is away for long; or a pod can never be made, or never start.
    """
    where = f"TrainJob {cluster.namespace}/{name}"
    logs, queue = PodLogs(cluster, name, event), _Queue(name, resumed)
    began = time.monotonic()
    while True:
        job, pods = cluster.job(name), cluster.pods(name)
        warning = _warning(cluster, job) if job is not None and not pods else ""
        logs.follow(pods, warning)
        if job is not None and _condition(job, "Complete") is not None:
            for _ in range(_LAST_TRIES):
                if not logs.unread:
                    break
                time.sleep(kubernetes_api.POLL)
                logs.follow(cluster.pods(name), "")
            return
        error = _final_error(where, job, pods, logs.last_lines) or _stuck_error(where, pods)
        error = error or _never_error(where, warning)
        if error is not None:
            raise error
        if job is not None:
            queue.follow(job, ran=bool(logs.last_lines))
            if time.monotonic() - began > deadline:  # Kubeflow counts anew when a job is resumed
                raise _overdue_error(where, job, deadline / 3600)
        time.sleep(kubernetes_api.POLL)


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
        why = _suspension(job)
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


def _suspension(job: Mapping[str, Any]) -> str | None:
    """Why the job is suspended; None if it is not."""
    suspended = _condition(job, "Suspended")
    return None if suspended is None else _told(suspended)


def _final_error(
    where: str, job: Mapping[str, Any] | None, pods: list[Any], last_lines: Mapping[str, Iterable[str]]
) -> UserError | None:
    """Why a job (None when it is no longer there) came to no good end; None while it runs, or waits in a queue.

    `last_lines` are those of the logs, by name of the pod.
    """
    if job is None:
        return TrainingError("was deleted while it ran, not by this task", where=where, remedy=_AGAIN)
    failed = _condition(job, "Failed")
    if failed is None:
        return None
    pod = _first_that_failed(pods)
    if pod is None:
        return JobFailed(f"failed: {_told(failed)}", where=where, remedy=_AGAIN)
    disruption = next((one for one in pod.status.conditions or [] if one.type == "DisruptionTarget"), None)
    if disruption is not None:
        message = f"pod {pod.metadata.name} was taken away: {disruption.reason}"
        return Preempted(message, where=where, remedy=_AGAIN)
    ended = _terminated(pod)
    said = "".join(f"\n    {line}" for line in last_lines.get(pod.metadata.name, ()))
    remedy, more = (
        "see its last lines above, and run again",
        "lower training.microbatch, or give the training more memory",
    )
    if ended.reason == "OOMKilled":
        remedy = f"{more} (resources, training.memory)"
    elif ended.exit_code == _KILLED:
        remedy = f"run it again; if its node ran out of memory, {more} (resources, training.memory)"
    message = f"failed: {_told(failed)}\n  pod {pod.metadata.name} ({_how(ended)}) said last:{said or ' nothing'}"
    return JobFailed(message, where=where, remedy=remedy)


def _stuck_error(where: str, pods: list[Any]) -> ClusterError | None:
    """Of a pod that has long been unable to start, for a reason that hardly passes by itself."""
    for pod in pods:
        for status in pod.status.container_statuses or []:
            waiting = status.state.waiting if status.state else None
            age = (datetime.now(UTC) - pod.metadata.creation_timestamp).total_seconds()
            if waiting is not None and waiting.reason in _NEVER and age > _PATIENCE:
                message = f"pod {pod.metadata.name} cannot start: {waiting.reason}: {waiting.message or ''}"
                remedy = "check the image's name, the secrets to pull it, and the secrets that the runtime names"
                return ClusterError(message.rstrip(": "), where=where, remedy=remedy)
    return None


def _never_error(where: str, warning: str) -> ClusterError | None:
    """Of pods that can never be made: Kubernetes does not take what runtime and job ask for together."""
    if not _INVALID.search(warning):
        return None
    remedy = "ask for less (resources, training), or mend the TrainingRuntime (infra/base/training/runtime.yaml)"
    return ClusterError(f"its pods can never be created: {warning}", where=where, remedy=remedy)


def _overdue_error(where: str, job: Mapping[str, Any], hours: float) -> TrainingError:
    """Of a job that has not come to an end in its time."""
    why = _suspension(job)
    if why is None:
        return TrainingError(f"has not ended in {hours:g} hours", where=where, remedy=_AGAIN)
    message = f"has not ended in {hours:g} hours, and is suspended: {why}"
    return TrainingError(message, where=where, remedy=f"see why its queue does not admit it, and {_AGAIN}")


def _condition(job: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), None)


def _told(condition: Mapping[str, Any]) -> str:
    return ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))


def _how(ended: Any) -> str:
    """How a container ended, in words and as a number."""
    number = ended.exit_code - _SIGNALLED
    if ended.reason not in (None, "Error") or number not in {one.value for one in signal.Signals}:
        return f"{ended.reason or 'Error'}, exit status {ended.exit_code}"
    return f"killed by {signal.Signals(number).name}, exit status {ended.exit_code}"


def _first_that_failed(pods: list[Any]) -> Any:
    """The others often fail because it did."""
    failed = [pod for pod in pods if (ended := _terminated(pod)) is not None and ended.exit_code]
    return min(failed, key=lambda pod: _terminated(pod).finished_at, default=None)


def _terminated(pod: Any) -> Any:
    """How the container ended; None while it has not."""
    for status in pod.status.container_statuses or []:
        if status.state and status.state.terminated:
            return status.state.terminated
    return None
