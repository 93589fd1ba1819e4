"""TrainJobs and their pods, as a training over several nodes asks for them; an API that is away is waited for."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import datetime
from typing import Any

from advantageflow import kubernetes_api
from advantageflow.errors import ClusterError
from advantageflow.kubernetes_api import AlreadyThere, NotThere, api_client, explained, own_namespace, patiently
from advantageflow.training.trainjob.spec import API_GROUP, API_VERSION, NODE, RUN_LABEL

NAMESPACE_ENV = "ADVANTAGEFLOW_NAMESPACE"
_JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
_SECONDS_TO_END = 900  # of the pods of a job that is deleted; they may write a last checkpoint
_INSTALL = "have Kubeflow Trainer v2 installed in the cluster, or train on one node (training.nodes=1)"


def connect() -> Cluster:
    """The cluster that this process runs in, or that the user's kubeconfig names.
    Raises SettingsError: there is neither.
    """
    return Cluster(api_client(), os.environ.get(NAMESPACE_ENV) or own_namespace())


class Cluster:
    """A namespace of a cluster, with jobs and their pods; what it refuses is raised as a ClusterError that says why."""

    def __init__(self, api: Any, namespace: str) -> None:
        from kubernetes import client

        self.namespace = namespace
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)

    def runtime(self, name: str) -> dict[str, Any]:
        """The TrainingRuntime by which nodes are started.
        Raises ClusterError: there is no such runtime, or no Kubeflow Trainer.
        """
        where = f"TrainingRuntime {self.namespace}/{name}"
        try:
            return self._ask("get", where, name, kind="trainingruntimes")
        except NotThere as error:
            remedy = f"apply infra/base, which has it, to namespace {self.namespace}; where Kubeflow Trainer itself "
            remedy += f"is missing, {_INSTALL}"
            raise ClusterError("there is no such runtime for the nodes", where=where, remedy=remedy) from error

    def create(self, body: dict[str, Any]) -> None:
        """Create a TrainJob."""
        tries = 0

        def create() -> None:
            nonlocal tries
            tries += 1
            try:
                self._once("create", self._where(body["metadata"]["name"]), body)
            except AlreadyThere:
                if tries == 1:
                    raise  # else it was created when the answer was lost

        patiently(create)

    def job(self, name: str) -> dict[str, Any] | None:
        """A TrainJob; None if there is none of this name."""
        with contextlib.suppress(NotThere):
            return self._ask("get", self._where(name), name)
        return None

    def jobs_of(self, run: str) -> list[dict[str, Any]]:
        """The TrainJobs of a pipeline run; none where the cluster knows no TrainJobs."""
        where = f"TrainJobs of run {run} in {self.namespace}"
        with contextlib.suppress(NotThere):
            return list(self._ask("list", where, label_selector=f"{RUN_LABEL}={run}")["items"])
        return []

    def pods(self, name: str) -> list[Any]:
        """The pods of a TrainJob."""

        def pods() -> list[Any]:
            with explained("list", "pods", self._where(name)):
                listed = self._core.list_namespaced_pod(
                    self.namespace, label_selector=f"{_JOB_LABEL}={name}", _request_timeout=kubernetes_api.TIMEOUT
                )
                return list(listed.items)

        return patiently(pods)

    def warning(self, name: str, since: datetime) -> str:
        """Why a TrainJob has no pods: the last warning about what makes them, such as that a quota allows none; "" if
        none.

        The names of those objects have the job's in them, also that of the workload that Kueue makes of it. What is
        older than the job (`since`) is of an earlier attempt's, which had the same name.
        """
        with explained("list", "events", self._where(name)):
            listed = self._core.list_namespaced_event(
                self.namespace, field_selector="type=Warning", _request_timeout=kubernetes_api.TIMEOUT
            )
            about = ((event, event.involved_object) for event in listed.items if _time_of(event) >= since)
            told = [event for event, thing in about if name in thing.name and thing.kind != "Pod"]
            last = max(told, key=_time_of, default=None)
            return "" if last is None else f"{last.reason}: {last.message}"

    def log_lines(self, pod: str, seconds: int | None) -> list[str]:
        """The lines of a pod's log, each after its time and a space, from so many seconds ago (None: from the
        beginning). NotThere is raised where the pod is gone.
        """
        since = {} if seconds is None else {"since_seconds": seconds}
        with explained("get", "pods/log", f"pod {self.namespace}/{pod}"):
            reply = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=NODE, timestamps=True, **since,
                _preload_content=False, _request_timeout=kubernetes_api.TIMEOUT,
            )  # fmt: skip
            text: str = reply.data.decode(errors="replace")
        return [line for line in text.split("\n") if line]

    def delete(self, name: str, patience: float | None = None) -> None:
        """Delete a TrainJob, if it is there; its pods are asked to end. The API may be away for `patience` seconds."""
        with contextlib.suppress(NotThere):
            patiently(lambda: self._once("delete", self._where(name), name), patience)

    def end_earlier(self, name: str) -> None:
        """Delete an earlier attempt's TrainJob, and wait until its pods have ended: two would write one checkpoint."""
        deadline = time.monotonic() + _SECONDS_TO_END
        if self.job(name) is not None:
            self.delete(name)
        while self.job(name) is not None or self.pods(name):
            if time.monotonic() > deadline:
                remedy = f"see why they do not end: kubectl -n {self.namespace} get pods -l {_JOB_LABEL}={name}"
                raise ClusterError("pods of an earlier attempt are still there", where=self._where(name), remedy=remedy)
            time.sleep(kubernetes_api.POLL)

    def _ask(self, verb: str, where: str, *told: Any, kind: str = "trainjobs", **options: Any) -> dict[str, Any]:
        """Ask about objects of Kubeflow Trainer, patiently."""
        return patiently(lambda: self._once(verb, where, *told, kind=kind, **options))

    def _once(self, verb: str, where: str, *told: Any, kind: str = "trainjobs", **options: Any) -> dict[str, Any]:
        """Make one request about objects of Kubeflow Trainer; returns what comes back."""
        request = getattr(self._objects, f"{verb}_namespaced_custom_object")
        with explained(verb, kind, where, _INSTALL):
            found: dict[str, Any] = request(
                API_GROUP, API_VERSION, self.namespace, kind, *told, _request_timeout=kubernetes_api.TIMEOUT, **options
            )
            return found

    def _where(self, name: str) -> str:
        return f"TrainJob {self.namespace}/{name}"


def _time_of(event: Any) -> datetime:
    """When it happened last; which of the fields says so depends on the reporter."""
    told: datetime = event.last_timestamp or event.event_time or event.metadata.creation_timestamp
    return told
