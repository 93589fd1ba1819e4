"""The options by which commands reach a Kubeflow Pipelines API server, and say whose a run is there."""

from pathlib import Path
from typing import Annotated

from typer import Option

from advantageflow.tracking.kubeflow import API_ENV
from advantageflow_pipelines.client.connection import COOKIE_ENV, TOKEN_ENV, UI_HOST_ENV, Connection, make_connection

_PANEL = "Kubeflow Pipelines"

Host = Annotated[
    str | None,
    Option("--host", envvar=API_ENV, rich_help_panel=_PANEL, help="Address of the API server: https://HOST/pipeline."),
]
HostToList = Annotated[
    str | None, Option("--host", rich_help_panel=_PANEL, help="Ask this API server: https://HOST/pipeline.")
]
UiHost = Annotated[
    str | None,
    Option("--ui-host", envvar=UI_HOST_ENV, rich_help_panel=_PANEL, help="Address of its pages, if another."),
]
Namespace = Annotated[
    str | None,
    Option(
        "--namespace", "-n", envvar="ADVANTAGEFLOW_KFP_NAMESPACE", rich_help_panel=_PANEL,
        help="Your profile's, on a server with several users."
    )
]  # fmt: skip
TokenFile = Annotated[
    Path | None,
    Option(
        "--token-file", envvar=f"{TOKEN_ENV}_FILE", rich_help_panel=_PANEL,
        help=f"File of a bearer token; or set {TOKEN_ENV} to the token."
    )
]  # fmt: skip
CookieFile = Annotated[
    Path | None,
    Option(
        "--cookie-file", envvar=f"{COOKIE_ENV}_FILE", rich_help_panel=_PANEL,
        help=f"File of the cookies (NAME=VALUE) of a signed-in browser; or set {COOKIE_ENV}."
    ),
]  # fmt: skip
InCluster = Annotated[
    bool,
    Option(
        "--in-cluster", rich_help_panel=_PANEL, help="In a pod of the cluster: its service, its token, its namespace."
    ),
]
CaFile = Annotated[
    Path | None,
    Option(
        "--ca-file", envvar="ADVANTAGEFLOW_KFP_CA_FILE", rich_help_panel=_PANEL,
        help="Certificates to trust (PEM) instead of the usual ones."
    ),
]  # fmt: skip

Experiment = Annotated[
    str | None,
    Option(
        "--experiment", "-e", envvar="KF_PIPELINES_DEFAULT_EXPERIMENT_NAME",
        help="Experiment on the server, made if it is not there; tracking.experiment if not given."
    )
]  # fmt: skip
ServiceAccount = Annotated[str | None, Option("--service-account", help="Of the pods, instead of the resources' own.")]


def connect(
    host: Host = None,
    ui_host: UiHost = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    in_cluster: InCluster = False,
    ca_file: CaFile = None,
) -> Connection:
    """The connection that these options give."""
    return make_connection(
        host, ui_host=ui_host, namespace=namespace, token_file=token_file, cookie_file=cookie_file,
        in_cluster=in_cluster, ca_file=ca_file,
    )  # fmt: skip


def connect_if_asked(
    host: HostToList = None,
    ui_host: UiHost = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    in_cluster: InCluster = False,
    ca_file: CaFile = None,
) -> Connection | None:
    """The connection, if a host is named on the command line; None where this machine is meant."""
    if host is None and not in_cluster:
        return None
    return connect(host, ui_host, namespace, token_file, cookie_file, in_cluster, ca_file)
