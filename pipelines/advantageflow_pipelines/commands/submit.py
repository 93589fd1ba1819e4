"""`advantageflow submit`: a run on a Kubeflow cluster."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer

from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import Connection
from advantageflow_pipelines.client.runs import start_run
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.cluster import check_before
from advantageflow_pipelines.commands.connect import connect
from advantageflow_pipelines.commands.expand import expanding
from advantageflow_pipelines.commands.sending import (
    Experiment,
    NoCache,
    ServiceAccount,
    choose_run,
    compile_run,
    describe,
)
from advantageflow_pipelines.commands.watch import watch
from advantageflow_pipelines.placing.cluster import ClusterRun
from advantageflow_pipelines.say import Console, say


@expanding(run=choose_run, connection=connect)
def submit(
    run: ClusterRun,
    connection: Connection,
    name: Annotated[
        str | None,
        typer.Option("--name", "--run-name", help="Name of the run, in MLflow too; made from preset and time."),
    ] = None,
    note: options.Note = None,
    experiment: Experiment = None,
    service_account: ServiceAccount = None,
    no_cache: NoCache = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Look first whether the cluster has what the run needs.")
    ] = True,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; its status is the exit status.")] = False,
) -> None:
    """Start a run on a Kubeflow cluster.

    Exit status: 0 the run was started (with --wait: succeeded), 1 it failed or was cancelled, 2 a mistake or a server
    that refuses, 130 Ctrl-C while following, which does not stop the run.
    """
    console = Console()
    run = replace(run, settings=options.named(run.settings, name, note))
    package = compile_run(run, console)
    api = Api(connection)
    account = service_account or run.resources.service_account
    if check:
        check_before(run, api.namespace, account, console)
    run_id = start_run(
        api,
        package.without_cache() if no_cache else package,
        name=name or f"{run.settings.preset}-{datetime.now().astimezone():%Y%m%d-%H%M%S}",
        experiment=experiment or run.settings.tracking.experiment,
        description=describe(run),
        service_account=account,
    )
    say(console, f"run {run_id} started", connection.run_page(run_id))
    if wait:
        sys.exit(watch(api, run_id, console))
