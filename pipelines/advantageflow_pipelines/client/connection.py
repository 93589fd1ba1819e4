"""Which Kubeflow Pipelines API server is meant, and as whom: the settings of a connection, checked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from advantageflow.errors import ClusterError
from advantageflow.tracking.kubeflow import API_ENV, IN_CLUSTER_API
from advantageflow_pipelines.client.credentials import Credentials

UI_HOST_ENV = "KF_PIPELINES_UI_ENDPOINT"  # Kubeflow's own name
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Connection:
    """How an API server is reached.

    Attributes:
        host: its address, without a slash at the end.
        ui: address of its pages.
        namespace: of a server with several users.
        pod_namespace: that this pod runs in, for such a server if no other is given.
        credentials: what requests carry.
        ca_file: certificates to trust instead of the usual ones.
    """

    host: str
    ui: str
    namespace: str | None = None
    pod_namespace: str | None = None
    credentials: Credentials = field(default_factory=Credentials)
    ca_file: Path | None = None

    def run_page(self, run_id: str) -> str:
        """Address of the page of a run."""
        return f"{self.ui}/#/runs/details/{run_id}"

    def schedule_page(self, recurring_run_id: str) -> str:
        """Address of the page of a schedule."""
        return f"{self.ui}/#/recurringrun/details/{recurring_run_id}"


def make_connection(
    host: str | None,
    *,
    ui_host: str | None = None,
    namespace: str | None = None,
    credentials: Credentials,
    ca_file: Path | None = None,
    in_cluster: bool = False,
) -> Connection:
    """The connection that a person's options give.

    Args:
        host: address of the API server; in the cluster, that of its service if None.
        ui_host: address of the pages, if it is another.
        namespace: of a server with several users; in the cluster, that of this pod if None.
        credentials: as found.
        ca_file: certificates to trust.
        in_cluster: whether this process is a pod of the server's cluster.

    Raises:
        ClusterError: there is no host, an address is none, or a file is not there.
    """
    if host is None and in_cluster:
        host = IN_CLUSTER_API
    if not host:
        remedy = f"give --host https://HOST/pipeline or set {API_ENV}; in a pod of the cluster, --in-cluster"
        raise ClusterError("no Kubeflow Pipelines API server is named", where="--host", remedy=remedy)
    if ca_file is not None and not ca_file.is_file():
        raise ClusterError("there is no such file", where=f"--ca-file {ca_file}", remedy="check the path")
    address = _address(host, "--host")
    ui = _address(ui_host, "--ui-host") if ui_host else address
    pod = _POD_NAMESPACE.read_text(encoding="utf-8").strip() if in_cluster and _POD_NAMESPACE.exists() else None
    return Connection(address, ui, namespace or None, pod, credentials, ca_file)


def _address(text: str, where: str) -> str:
    """An address as requests need it: with a scheme; without what a browser's address bar has after the path.

    Without a scheme it is https, but http where no certificate would be for it: this machine, a private IP address, a
    service of a cluster.
    """
    address = text.strip() if "://" in text else f"{'http' if _is_plain(text.strip()) else 'https'}://{text.strip()}"
    remedy = "give an address such as https://kubeflow.example/pipeline"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ClusterError("not an http(s) address", where=where, remedy=remedy)
    if parts.username or parts.password:
        remedy = "leave user and password away, and give credentials in a file: --token-file or --cookie-file"
        raise ClusterError("has credentials in it, which others can see", where=where, remedy=remedy)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _is_plain(address: str) -> bool:
    """Whether an address without a scheme is this machine's, a private one, or a service's."""
    try:
        name = urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return False
    with suppress(ValueError):
        return ip_address(name).is_private
    return name == "localhost" or name.endswith((".svc", ".svc.cluster.local"))
