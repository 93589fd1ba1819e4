"""`advantageflow schedule`: runs that a Kubeflow cluster starts by itself."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.table import Column, Table

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.connection import Connection
from advantageflow_pipelines.client.cron import check_cron, interval_seconds
from advantageflow_pipelines.client.schedules import (
    Schedule,
    When,
    change_schedule,
    check_name_is_free,
    create_schedule,
    find_schedule,
    list_schedules,
)
from advantageflow_pipelines.commands.connect import connect
from advantageflow_pipelines.commands.expand import expanding
from advantageflow_pipelines.commands.sending import Experiment, ServiceAccount, choose_run, compile_run, describe
from advantageflow_pipelines.placing.cluster import ClusterRun
from advantageflow_pipelines.say import Console, print_table, say

schedule = typer.Typer(no_args_is_help=True, help="Runs that a Kubeflow cluster starts by itself, such as retraining.")

NameOrId = Annotated[str, typer.Argument(metavar="NAME|ID", help="Name or id of the schedule.")]


@schedule.command("create")
@expanding(run=choose_run, connection=connect)
def create(
    run: ClusterRun,
    connection: Connection,
    name: Annotated[str, typer.Option("--name", help="Name of the schedule.")],
    cron: Annotated[
        str | None,
        typer.Option(
            "--cron",
            help="Six fields, seconds first: '0 0 3 * * mon' is Mondays at 3:00. UTC, unless the cluster differs.",
        ),
    ] = None,
    every: Annotated[str | None, typer.Option("--every", help="Interval instead: 90m, 6h, 7d.")] = None,
    concurrency: Annotated[
        int, typer.Option("--max-concurrency", min=1, max=10, help="Runs at a time; further ones wait.")
    ] = 1,
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Make up for runs that were missed, one after the other.")
    ] = False,
    upload_as: Annotated[
        str | None, typer.Option("--upload-as", help="Name of the pipeline on the server that gets a new version.")
    ] = None,
    version_name: Annotated[
        str | None, typer.Option("--version-name", help="Name of the version; made from the content if not given.")
    ] = None,
    experiment: Experiment = None,
    service_account: ServiceAccount = None,
) -> None:
    """Upload the pipeline and have it run again and again.

    A run that is due while another goes on waits for it, and runs missed in a pause are left out, unless told
    otherwise. Each run does all of its work anew: Kubeflow's cache would take it for the one before.
    """
    from advantageflow_pipelines.client.api import Api
    from advantageflow_pipelines.client.pipelines import upload

    console = Console()
    when = _when(cron, every)
    package = compile_run(run, console).without_cache()
    api = Api(connection)
    check_name_is_free(api, name)  # before anything is uploaded
    version = upload(api, package, pipeline=upload_as, version=version_name)
    schedule_id = create_schedule(
        api,
        version,
        name=name,
        when=when,
        experiment=experiment or run.settings.tracking.experiment,
        concurrency=concurrency,
        catch_up=catch_up,
        service_account=service_account or run.resources.service_account,
        description=describe(run),
    )
    say(
        console,
        f"schedule '{name}' runs version {version.name} of {version.pipeline}: {when}",
        f"id {schedule_id}",
        connection.schedule_page(schedule_id),
    )


@schedule.command("list")
@expanding(connection=connect)
def list_command(connection: Connection) -> None:
    """List the schedules and when they run."""
    from advantageflow_pipelines.client.api import Api

    console = Console()
    id_column = Column("id", no_wrap=True)
    table = Table("schedule", id_column, "runs", "state", "at a time", "missed runs")
    for one in list_schedules(Api(connection)):
        state, missed = "on" if one.enabled else "paused", "made up for" if one.catch_up else "left out"
        table.add_row(one.name, one.schedule_id, str(one.when), state, str(one.concurrency), missed)
    if not table.rows:
        say(console, "no schedules; make one with: advantageflow schedule create")
        return
    print_table(console, table)


@schedule.command("pause")
@expanding(connection=connect)
def pause(connection: Connection, schedule_name: NameOrId) -> None:
    """Start no more runs for now; those under way go on."""
    found = _change(connection, schedule_name, "disable")
    say(Console(), f"schedule '{found.name}' is paused; go on with: advantageflow schedule resume {found.schedule_id}")


@schedule.command("resume")
@expanding(connection=connect)
def resume(connection: Connection, schedule_name: NameOrId) -> None:
    """Let a paused schedule start runs again."""
    found = _change(connection, schedule_name, "enable")
    say(Console(), f"schedule '{found.name}' is on: {found.when}")


@schedule.command("delete")
@expanding(connection=connect)
def delete(connection: Connection, schedule_name: NameOrId) -> None:
    """Delete a schedule; its runs and its pipeline stay."""
    found = _change(connection, schedule_name, "delete")
    say(Console(), f"schedule '{found.name}' is deleted; its runs stay")


def _change(connection: Connection, name: str, change: Literal["disable", "enable", "delete"]) -> Schedule:
    from advantageflow_pipelines.client.api import Api

    api = Api(connection)
    found = find_schedule(api, name)
    change_schedule(api, found, change)
    return found


def _when(cron: str | None, every: str | None) -> When:
    if (cron is None) == (every is None):
        message = "neither is given" if cron is None else "both are given"
        remedy = "give one: --cron '0 0 3 * * mon' (seconds first, UTC), or --every 6h"
        raise SettingsError(message, where="--cron, --every", remedy=remedy)
    return When(seconds=interval_seconds(every)) if every is not None else When(cron=check_cron(cron or ""))
