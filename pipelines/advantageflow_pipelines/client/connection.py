"""Which Kubeflow Pipelines API server is meant, and as whom: its address, and a token or cookies from files or the
environment, never on a command line."""

import functools
import inspect
import os
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from typer import Option

from advantageflow.errors import ClusterError
from advantageflow.tracking.kubeflow import API_ENV, IN_CLUSTER_API, TOKEN_FILE
from advantageflow.tracking.kubeflow import TOKEN_ENV as POD_TOKEN_ENV

UI_HOST_ENV = "KF_PIPELINES_UI_ENDPOINT"  # Kubeflow's own name
TOKEN_ENV = "ADVANTAGEFLOW_KFP_TOKEN"  # noqa: S105 - the name of a variable
COOKIE_ENV = "ADVANTAGEFLOW_KFP_COOKIE"
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_option = functools.partial(Option, rich_help_panel="Kubeflow Pipelines")
Host = Annotated[str | None, _option(envvar=API_ENV, help="Address of the API server: https://HOST/pipeline.")]
HostToList = Annotated[str | None, _option(help="Ask this API server: https://HOST/pipeline.")]
UiHost = Annotated[str | None, _option(envvar=UI_HOST_ENV, help="Address of its pages, if another.")]
_OF_PROFILE = "Your profile's, on a server with several users."
Namespace = Annotated[str | None, _option("--namespace", "-n", envvar="ADVANTAGEFLOW_KFP_NAMESPACE", help=_OF_PROFILE)]
_TOKEN = f"File of a bearer token; or set {TOKEN_ENV} to the token."
TokenFile = Annotated[Path | None, _option(envvar=f"{TOKEN_ENV}_FILE", help=_TOKEN)]
_COOKIE = f"File of the cookies (NAME=VALUE) of a signed-in browser; or set {COOKIE_ENV}."
CookieFile = Annotated[Path | None, _option(envvar=f"{COOKIE_ENV}_FILE", help=_COOKIE)]
_IN_CLUSTER = "In a pod of the cluster: its service, its token, its namespace."
InCluster = Annotated[bool, _option("--in-cluster", help=_IN_CLUSTER)]
_CERTIFICATES = "Certificates to trust (PEM) instead of the usual ones."
CaFile = Annotated[Path | None, _option(envvar="ADVANTAGEFLOW_KFP_CA_FILE", help=_CERTIFICATES)]


@dataclass(frozen=True)
class Connection:
    """How an API server is reached."""

    host: str  # its address, without a slash at the end
    ui: str  # address of its pages
    namespace: str | None = None  # of a server with several users
    pod_namespace: str | None = None  # that this pod runs in, for such a server if no other is given
    token_file: Path | None = None  # file of a bearer token, read for every request, as Kubernetes renews it
    fixed_token: str | None = field(default=None, repr=False)  # a bearer token
    cookie: str | None = field(default=None, repr=False)  # value of the Cookie header
    ca_file: Path | None = None  # certificates to trust instead of the usual ones

    def token(self) -> str | None:
        """The bearer token at this moment.
        Raises ClusterError: its file cannot be read, or holds no token.
        """
        if self.token_file is None:
            return self.fixed_token
        return _one_word(_read(self.token_file), str(self.token_file))

    def hide(self, text: str) -> str:
        """A server's words without the secrets that they may repeat."""
        for secret in filter(None, (self.token(), self.cookie)):
            text = text.replace(secret, "[hidden]")
        return text

    def run_page(self, run_id: str) -> str:
        """Address of the page of a run."""
        return f"{self.ui}/#/runs/details/{run_id}"

    def schedule_page(self, recurring_run_id: str) -> str:
        """Address of the page of a schedule."""
        return f"{self.ui}/#/recurringrun/details/{recurring_run_id}"


def make_connection(
    host: Host = None,
    ui_host: UiHost = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    in_cluster: InCluster = False,
    ca_file: CaFile = None,
) -> Connection:
    """The connection that options and environment give; files come before variables.
    Raises ClusterError: there is no host, an address is none, a file is not there or holds no such thing, or two tokens
    are given.

    Args:
        host: address of the API server; in the cluster, that of its service if None.
        namespace: of a server with several users; in the cluster, that of this pod if None.
        token_file: of a bearer token; in the cluster the one that Kubernetes mounts for Kubeflow Pipelines.
        in_cluster: whether this process is a pod of the server's cluster.
    """
    if host is None and in_cluster:
        host = IN_CLUSTER_API
    if not host:
        remedy = f"give --host https://HOST/pipeline or set {API_ENV}; in a pod of the cluster, --in-cluster"
        raise ClusterError("no Kubeflow Pipelines API server is named", where="--host", remedy=remedy)
    if ca_file is not None and not ca_file.is_file():
        raise ClusterError("there is no such file", where=f"--ca-file {ca_file}", remedy="check the path")
    address = _address(host, "--host")
    if in_cluster:
        token_file = _pod_token(token_file)
    token = os.environ.get(TOKEN_ENV) if token_file is None else None
    connection = Connection(
        host=address,
        ui=_address(ui_host, "--ui-host") if ui_host else address,
        namespace=namespace or None,
        pod_namespace=_read(_POD_NAMESPACE).strip() if in_cluster and _POD_NAMESPACE.exists() else None,
        token_file=token_file,
        fixed_token=_one_word(token, TOKEN_ENV) if token else None,
        cookie=_cookie(cookie_file),
        ca_file=ca_file,
    )
    connection.token()  # a missing file is found before anything is done
    return connection


def make_connection_if_asked(**given: Any) -> Connection | None:
    """The connection, if a host is named on the command line; None where this machine is meant. Options as above."""
    return make_connection(**given) if given["host"] is not None or given["in_cluster"] else None


_options = inspect.signature(make_connection).parameters
make_connection_if_asked.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [one.replace(annotation=HostToList) if name == "host" else one for name, one in _options.items()]
)


def _pod_token(other: Path | None) -> Path:
    if other is not None:
        raise ClusterError("two tokens are given", where="--in-cluster, --token-file", remedy="give one of them")
    file = Path(os.environ.get(POD_TOKEN_ENV) or TOKEN_FILE)
    if not file.exists():
        remedy = (
            "mount a service account token with audience pipelines.kubeflow.org there (a projected volume), or name "
            f"its path in {POD_TOKEN_ENV}; a server of one user needs no token: give --host alone"
        )
        raise ClusterError("this pod has no token for Kubeflow Pipelines", where=str(file), remedy=remedy)
    return file


def _cookie(file: Path | None) -> str | None:
    text, where = (_read(file), str(file)) if file is not None else (os.environ.get(COOKIE_ENV), COOKIE_ENV)
    if not text:
        return None
    cookie = text.strip()
    if "=" not in cookie or "\n" in cookie or not cookie.isprintable():
        remedy = "give what the browser sends in the header Cookie: name=value, several with ; between them"
        raise ClusterError("holds no cookie", where=where, remedy=remedy)
    return cookie


def _one_word(text: str, where: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        remedy = "give the bare token, without 'Bearer' and without anything else"
        raise ClusterError("holds no token", where=where, remedy=remedy)
    return token


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ClusterError(f"cannot be read: {reason}", where=str(file), remedy="check the path") from error


def _address(text: str, where: str) -> str:
    """An address as requests need it: with a scheme; without what a browser's address bar has after the path.

    Without a scheme it is https, but http where no certificate would be for it: this machine, a private IP address, a
    service of a cluster.
    """
    text, usable = text.strip(), False
    with suppress(ValueError):
        bare = urlsplit(f"//{text}").hostname or ""
        parts = urlsplit(text if "://" in text else f"{'http' if _is_plain(bare) else 'https'}://{text}")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    if not usable:
        remedy = "give an address such as https://kubeflow.example/pipeline"
        raise ClusterError("not an http(s) address", where=where, remedy=remedy)
    if parts.username or parts.password:
        remedy = "leave user and password away, and give credentials in a file: --token-file or --cookie-file"
        raise ClusterError("has credentials in it, which others can see", where=where, remedy=remedy)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _is_plain(name: str) -> bool:
    """Whether a host is this machine, a private one, or a service."""
    with suppress(ValueError):
        return ip_address(name).is_private
    return name == "localhost" or name.endswith((".svc", ".svc.cluster.local"))
