"""The Kubernetes API as this process reaches it: where it is, its refusals as one clear error each, and patience."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from advantageflow.errors import ClusterError, SettingsError

POLL = 2.0  # seconds between two tries, and between two looks at what changes
PATIENCE = 900.0  # seconds that the API, or a webhook that it asks, may be away
TIMEOUT = (10, 60)  # seconds to connect, and without a byte
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_RIGHTS = "give the service account of the run's pods that right in this namespace (infra/base/runs/roles.yaml has all)"

logger = logging.getLogger(__name__)
T = TypeVar("T")


class ClusterAway(ClusterError):
    """The API does not answer at the moment, or not as it should: the same request may work later."""


class NotThere(ClusterError):
    """An object that there is not, or a kind of objects that the cluster does not know."""


class AlreadyThere(ClusterError):
    """An object of this name exists."""


class NotAllowed(ClusterError):
    """A right is missing."""


def is_reachable() -> bool:
    """Whether this process runs in a cluster, or the user has a kubeconfig; imports nothing."""
    files = (_kubeconfig() or os.path.expanduser("~/.kube/config")).split(os.pathsep)
    return _in_cluster() or any(map(os.path.exists, files))


def api_client(*, retries: bool = True) -> Any:
    """Kubernetes' client for the cluster that this process runs in, or that the user's kubeconfig names.
    Raises SettingsError: there is neither.

    Args:
        retries: whether it makes a request again by itself where there is no connection.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = None if retries else False
    try:
        if _in_cluster():
            config.load_incluster_config(configuration)
        else:
            config.load_kube_config(_kubeconfig(), client_configuration=configuration)
    except config.ConfigException as error:
        remedy = "run the pipeline on a cluster, set KUBECONFIG, or train on one node (training.nodes=1)"
        message = "this process runs in no Kubernetes cluster, and has no kubeconfig"
        raise SettingsError(message, where="KUBECONFIG", remedy=remedy) from error
    return client.ApiClient(configuration)


def own_namespace() -> str:
    """The namespace of this pod, or of the kubeconfig's context."""
    from kubernetes import config

    with contextlib.suppress(OSError), open(f"{_SERVICE_ACCOUNT}/namespace") as file:
        return file.read().strip()
    with contextlib.suppress(config.ConfigException):
        return str(config.list_kube_config_contexts(_kubeconfig())[1]["context"].get("namespace") or "default")
    return "default"


def patiently(request: Callable[[], T], seconds: float | None = None) -> T:
    """What a request gives; made again, for PATIENCE or so many seconds, while it raises ClusterAway, which ends as
    that.
    """
    began, warned = time.monotonic(), False
    while True:
        try:
            return request()
        except ClusterAway as away:
            if time.monotonic() - began >= (PATIENCE if seconds is None else seconds):
                raise
            if not warned:
                logger.warning("%s; trying again", away.message)
            warned = True
        time.sleep(POLL)


@contextlib.contextmanager
def explained(verb: str, resource: str, where: str, remedy: str = "") -> Iterator[None]:
    """Turn what the API refuses, and what keeps it from answering, into errors about the object `where`.

    The remedy is for where there is no such thing, or the request is not taken.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _refusal(error, verb, resource, where, remedy) from error
    except HTTPError as error:
        message = f"the Kubernetes API cannot be reached ({type(error).__name__})"
        raise ClusterAway(message, where=where, remedy="check the network and the address of the API") from error


def _refusal(error: Any, verb: str, resource: str, where: str, remedy: str) -> ClusterError:
    told = _told(error)
    if error.status == 404:
        return NotThere(f"not found: {told}", where=where, remedy=remedy)
    if error.status == 409:
        return AlreadyThere(f"exists already: {told}", where=where, remedy=remedy)
    if error.status == 401:
        remedy = "check the token or certificate of the kubeconfig or service account"
        return ClusterError("the Kubernetes API does not know this user", where=where, remedy=remedy)
    if error.status == 403 and "quota" in told:
        remedy = "wait for other work to end, ask for less, or have the namespace's ResourceQuota raised"
        return ClusterError(f"the namespace's quota does not allow it: {told}", where=where, remedy=remedy)
    if error.status == 403 and "admission webhook" not in told:
        return NotAllowed(f"no right to {verb} {resource}: {told}", where=where, remedy=_RIGHTS)
    if error.status == 429 or error.status >= 500:
        return ClusterAway(f"the Kubernetes API answers {error.status}: {told}", where=where, remedy="run again later")
    return ClusterError(f"the cluster refuses to {verb} it ({error.status}): {told}", where=where, remedy=remedy)


def _told(error: Any) -> str:
    """What the API says, in its Status object or in plain words."""
    try:
        return str(json.loads(error.body)["message"])
    except (KeyError, TypeError, ValueError):
        return str(error.body or error.reason)[:300]


def _in_cluster() -> bool:
    return os.path.exists(f"{_SERVICE_ACCOUNT}/token")


def _kubeconfig() -> str | None:
    """The client itself reads the variable once, when it is imported."""
    return os.environ.get("KUBECONFIG") or None
