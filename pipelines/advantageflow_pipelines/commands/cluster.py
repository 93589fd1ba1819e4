"""`advantageflow cluster check`: whether a cluster has what a run needs."""

import itertools
import sys
from typing import Annotated

import typer
from rich.text import Text
from typer import Option

from advantageflow.errors import ClusterError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.checks.findings import Finding, State, fine, to_do
from advantageflow_pipelines.client.connection import Connection, make_connection_if_asked
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.options import expanding
from advantageflow_pipelines.placing.cluster import ClusterRun, cluster_run
from advantageflow_pipelines.say import Console, say, warn

cluster = typer.Typer(help="Look at a Kubeflow cluster before a run is sent there.", no_args_is_help=True)
_STYLES = {State.FINE: "green", State.ADVICE: "yellow", State.TO_DO: "red", State.UNKNOWN: "yellow"}


@cluster.callback()
def _cluster() -> None:
    """One command, which keeps its name."""


@cluster.command("check")
@expanding(settings=options.choose, connection=make_connection_if_asked)
def check(
    settings: RunSettings,
    connection: Connection | None,
    images: options.Images = None,
    image: options.Image = None,
    resources: options.Resources = None,
    service_account: options.ServiceAccount = None,
    pod: Annotated[
        bool, Option("--pod/--no-pod", help="Try images, store and MLflow from a short pod, if images are given.")
    ] = True,
) -> None:
    """Say of each thing that a run needs of a cluster that it is fine, or what to do.

    Asks the Kubernetes API of KUBECONFIG, and with --host also whether Kubeflow Pipelines answers there. Exit status: 0
    nothing has to be done, 1 something has, 2 a mistake.
    """
    from advantageflow_pipelines.client.checks.check import check_cluster

    chosen = images is not None or image is not None
    run = cluster_run(settings, options.choose_images(images, image, settings), resources)
    account = service_account or run.resources.service_account
    console = Console()
    server, namespace = _server(connection)
    found = check_cluster(run, namespace, account, pod=pod and chosen)
    states = [_show(console, one) for one in itertools.chain(server, found)]
    if not chosen:
        _show(console, Finding("images, store, MLflow", State.UNKNOWN, "give --images, and a pod tries them"))
    sys.exit(int(State.TO_DO in states))


def check_before(run: ClusterRun, namespace: str | None, account: str, console: Console) -> None:
    """Look at what can be looked at in seconds before a run is sent; shows what is not fine.
    Raises ClusterError: something has to be done first.
    """
    from advantageflow_pipelines.client.checks.check import ANOTHER_CLUSTER, check_cluster

    with console.status("looking at the cluster"):
        found = list(check_cluster(run, namespace, account))
    if ANOTHER_CLUSTER in found:  # the kubeconfig need not be that of --host
        say(console, f"not checked on the cluster: {ANOTHER_CLUSTER.words}")
        return
    todo = [f"\n  {one.what}: {one.words}" for one in found if one.state is State.TO_DO]
    if todo:
        remedy = "do so, look again with `advantageflow cluster check`, or submit with --no-check"
        raise ClusterError(f"the cluster lacks what this run needs:{''.join(todo)}", remedy=remedy)
    for one in found:
        if one.state is State.ADVICE:
            warn(console, f"{one.what}: {one.words}")
    unknown = [f"{one.what} ({one.words})" for one in found if one.state is State.UNKNOWN]
    if unknown:
        say(console, f"not checked on the cluster: {'; '.join(unknown)}")


def _show(console: Console, one: Finding) -> State:
    line = Text.assemble((f"{one.state.value:<12}", _STYLES[one.state]), f"{one.what}: {one.words}")
    console.print(line, soft_wrap=True)
    return one.state


def _server(connection: Connection | None) -> tuple[list[Finding], str | None]:
    """Whether Kubeflow Pipelines answers, where it is named, and the namespace that it has for runs."""
    if connection is None:
        return [], None
    try:
        namespace = Api(connection).namespace
    except ClusterError as error:
        return [to_do("Kubeflow's API", f"{error.where}: {error.message}", error.remedy)], connection.namespace
    return [fine("Kubeflow's API", f"{connection.host} answers")], namespace
