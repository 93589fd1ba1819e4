"""The Kubernetes API as a training over several nodes needs it; each refusal one message with the right it needs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from advantageflow.errors import ClusterError, SettingsError
from advantageflow.training.trainjob.spec import API_GROUP, API_VERSION, NODE, RUN_LABEL

NAMESPACE_ENV = "ADVANTAGEFLOW_NAMESPACE"
POLL = 2.0  # seconds between two looks at a job
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
_TIMEOUT = (10, 60)  # seconds to connect, and without a byte
_LOG_TIMEOUT = (10, 600)
_SECONDS_TO_END = 900  # of the pods of a job that is deleted; they may write a last checkpoint
_RIGHTS = "give the service account of the run's pods that right in this namespace (infra/base/runs/roles.yaml has all)"
_INSTALL = "have Kubeflow Trainer v2 installed in the cluster, or train on one node (training.nodes=1)"


class ClusterAway(ClusterError):
    """The API does not answer at the moment, or not as it should: the same request may work later."""


class NotThere(ClusterError):
    """An object that there is not, or a kind of objects that the cluster does not know."""


def connect() -> Cluster:
    """The cluster that this process runs in, or that the user's kubeconfig names.

    Raises:
        SettingsError: there is neither.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if os.path.exists(f"{_SERVICE_ACCOUNT}/token"):
            config.load_incluster_config(configuration)
        else:
            config.load_kube_config(_kubeconfig(), client_configuration=configuration)
    except config.ConfigException as error:
        message = "several nodes train in a Kubernetes cluster, and this process is in none and has no kubeconfig"
        remedy = "run the pipeline on a cluster, set KUBECONFIG, or train on one node"
        raise SettingsError(message, where="training.nodes", remedy=remedy) from error
    return Cluster(client.ApiClient(configuration), os.environ.get(NAMESPACE_ENV) or _namespace())


class Cluster:
    """A namespace of a cluster.

    Args:
        api: Kubernetes' client.
        namespace: of the jobs and their pods.
    """

    def __init__(self, api: Any, namespace: str) -> None:
        from kubernetes import client

        self.namespace = namespace
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)

    def check_runtime(self, name: str) -> None:
        """See that nodes can be started as the runtime says.

        Raises:
            ClusterError: there is no such runtime, or no Kubeflow Trainer.
        """
        where = f"TrainingRuntime {self.namespace}/{name}"
        try:
            self._ask("get", where, name, kind="trainingruntimes")
        except NotThere as error:
            remedy = f"apply infra/base, which has it, to namespace {self.namespace}; where Kubeflow Trainer itself "
            remedy += f"is missing, {_INSTALL}"
            raise ClusterError("there is no such runtime for the nodes", where=where, remedy=remedy) from error

    def create(self, body: dict[str, Any]) -> None:
        """Create a TrainJob.

        Raises:
            ClusterError: it is refused; says why.
        """
        self._ask("create", self._where(body["metadata"]["name"]), body)

    def job(self, name: str) -> dict[str, Any] | None:
        """A TrainJob; None if there is none of this name.

        Raises:
            ClusterError: it cannot be asked for.
        """
        with contextlib.suppress(NotThere):
            return self._ask("get", self._where(name), name)
        return None

    def jobs_of(self, run: str) -> list[dict[str, Any]]:
        """The TrainJobs of a pipeline run; none where the cluster knows no TrainJobs.

        Raises:
            ClusterError: they cannot be listed.
        """
        where = f"TrainJobs of run {run} in {self.namespace}"
        with contextlib.suppress(NotThere):
            return list(self._ask("list", where, label_selector=f"{RUN_LABEL}={run}")["items"])
        return []

    def pods(self, name: str) -> list[Any]:
        """The pods of a TrainJob.

        Raises:
            ClusterError: they cannot be listed.
        """
        with _explained("list", "pods", self._where(name)):
            listed = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"{_JOB_LABEL}={name}", _request_timeout=_TIMEOUT
            )
            return list(listed.items)

    def warning(self, name: str) -> str:
        """Why a TrainJob has no pods: the last warning about what makes them, such as that a quota allows none.

        The names of those objects have the job's in them, also that of the workload that Kueue makes of it.

        Returns:
            "" if there is none.

        Raises:
            ClusterError: it cannot be asked for.
        """
        with _explained("list", "events", self._where(name)):
            listed = self._core.list_namespaced_event(
                self.namespace, field_selector="type=Warning", _request_timeout=_TIMEOUT
            )
            about = ((event, event.involved_object) for event in listed.items)
            told = [event for event, thing in about if name in thing.name and thing.kind != "Pod"]
            last = max(told, key=_time_of, default=None)
            return "" if last is None else f"{last.reason}: {last.message}"

    def log_lines(self, pod: str, seconds: int | None) -> Iterator[str]:
        """The lines of a pod's log as they come, each after its time and a space.

        Args:
            pod: name.
            seconds: how far to go back; None to the beginning.

        Raises:
            NotThere: it is gone.
            ClusterError: the log cannot be read.
        """
        where = f"pod {self.namespace}/{pod}"
        since = {} if seconds is None else {"since_seconds": seconds}
        with _explained("get", "pods/log", where):
            reply = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=NODE, follow=True, timestamps=True, **since,
                _preload_content=False, _request_timeout=_LOG_TIMEOUT,
            )  # fmt: skip
            with contextlib.closing(reply):
                for line in reply:
                    yield line.decode(errors="replace").rstrip("\n")

    def delete(self, name: str) -> None:
        """Delete a TrainJob; its pods are asked to end. One that is not there is fine.

        Raises:
            ClusterError: it is refused.
        """
        with contextlib.suppress(NotThere):
            self._ask("delete", self._where(name), name)

    def end_earlier(self, name: str) -> None:
        """Delete a TrainJob of an earlier attempt, and wait until its pods have ended: two would write one checkpoint.

        Raises:
            ClusterError: it is refused, or they do not end.
        """
        deadline = time.monotonic() + _SECONDS_TO_END
        if self.job(name) is not None:
            self.delete(name)
        while self.job(name) is not None or self.pods(name):
            if time.monotonic() > deadline:
                remedy = f"see why they do not end: kubectl -n {self.namespace} get pods -l {_JOB_LABEL}={name}"
                raise ClusterError("pods of an earlier attempt are still there", where=self._where(name), remedy=remedy)
            time.sleep(POLL)

    def _ask(self, verb: str, where: str, *told: Any, kind: str = "trainjobs", **options: Any) -> dict[str, Any]:
        """Make a request about objects of Kubeflow Trainer; returns what comes back."""
        request = getattr(self._objects, f"{verb}_namespaced_custom_object")
        with _explained(verb, kind, where):
            found: dict[str, Any] = request(
                API_GROUP, API_VERSION, self.namespace, kind, *told, _request_timeout=_TIMEOUT, **options
            )
            return found

    def _where(self, name: str) -> str:
        return f"TrainJob {self.namespace}/{name}"


def _time_of(event: Any) -> datetime:
    """When it happened last; which of the fields says so depends on the reporter."""
    told: datetime = event.last_timestamp or event.event_time or event.metadata.creation_timestamp
    return told


@contextlib.contextmanager
def _explained(verb: str, resource: str, where: str) -> Iterator[None]:
    """Turn what the API refuses, and what keeps it from answering, into errors."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _refusal(error, verb, resource, where) from error
    except HTTPError as error:
        remedy = "check the network and the address of the Kubernetes API"
        raise ClusterAway(f"the Kubernetes API cannot be reached ({type(error).__name__})", where=where,
                          remedy=remedy) from error  # fmt: skip


def _refusal(error: Any, verb: str, resource: str, where: str) -> ClusterError:
    told = _told(error)
    if error.status == 404:
        return NotThere(f"not found: {told}", where=where, remedy=_INSTALL)
    if error.status == 401:
        remedy = "check the token or certificate of the kubeconfig or service account"
        return ClusterError("the Kubernetes API does not know this user", where=where, remedy=remedy)
    if error.status == 403 and "quota" in told:
        remedy = "wait for other work to end, ask for less, or have the namespace's ResourceQuota raised"
        return ClusterError(f"the namespace's quota does not allow it: {told}", where=where, remedy=remedy)
    if error.status == 403 and "admission webhook" not in told:
        return ClusterError(f"no right to {verb} {resource}: {told}", where=where, remedy=_RIGHTS)
    if error.status == 429 or error.status >= 500:
        return ClusterAway(f"the Kubernetes API answers {error.status}: {told}", where=where, remedy="run again later")
    return ClusterError(f"the cluster refuses to {verb} it ({error.status}): {told}", where=where, remedy=_INSTALL)


def _told(error: Any) -> str:
    """What the API says, in its Status object or in plain words."""
    try:
        return str(json.loads(error.body)["message"])
    except (KeyError, TypeError, ValueError):
        return str(error.body or error.reason)[:300]


def _kubeconfig() -> str | None:
    """The client itself reads the variable once, when it is imported."""
    return os.environ.get("KUBECONFIG") or None


def _namespace() -> str:
    from kubernetes import config

    with contextlib.suppress(OSError), open(f"{_SERVICE_ACCOUNT}/namespace") as file:
        return file.read().strip()
    with contextlib.suppress(config.ConfigException):
        return str(config.list_kube_config_contexts(_kubeconfig())[1]["context"].get("namespace") or "default")
    return "default"
