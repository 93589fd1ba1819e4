"""`advantageflow submit`: a run on a Kubeflow cluster."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from advantageflow_pipelines.client.connection import Connection
from advantageflow_pipelines.commands.connect import connect
from advantageflow_pipelines.commands.expand import expanding
from advantageflow_pipelines.commands.sending import Experiment, NoCache, Sending, ServiceAccount, choose_sending
from advantageflow_pipelines.commands.watch import watch


@expanding(sending=choose_sending, connection=connect)
def submit(
    sending: Sending,
    connection: Connection,
    run_name: Annotated[
        str | None, typer.Option("--run-name", help="Name of the run; made from preset and time.")
    ] = None,
    experiment: Experiment = None,
    service_account: ServiceAccount = None,
    no_cache: NoCache = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; its status is the exit status.")] = False,
) -> None:
    """Start a run on a Kubeflow cluster.

    Exit status: 0 the run was started (with --wait: succeeded), 1 it failed or was cancelled, 2 a mistake or a server
    that refuses, 130 Ctrl-C while following, which does not stop the run.
    """
    from advantageflow_pipelines.client.api import Api
    from advantageflow_pipelines.client.runs import start_run

    console = Console()
    package = sending.compile(console, cache=not no_cache)
    api = Api(connection)
    run_id = start_run(
        api,
        package,
        name=run_name or f"{sending.run.settings.preset}-{datetime.now().astimezone():%Y%m%d-%H%M%S}",
        experiment=sending.experiment(experiment),
        description=sending.description(),
        service_account=sending.service_account(service_account),
    )
    for line in (f"run {run_id} started", connection.run_page(run_id)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if wait:
        sys.exit(watch(api, run_id, console))
