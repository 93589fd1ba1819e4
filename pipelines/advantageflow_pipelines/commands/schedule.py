"""`advantageflow schedule`: runs that a Kubeflow cluster, or cron or systemd on this machine, starts by itself."""

from functools import partial
from typing import Annotated, Any, Literal

import typer
from rich.table import Column, Table
from typer import Argument, Option

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client import schedules as remote
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import Connection, make_connection
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.options import expanding, later
from advantageflow_pipelines.commands.submit import choose_run, compile_run, describe
from advantageflow_pipelines.local import schedules
from advantageflow_pipelines.placing.cluster import ClusterRun
from advantageflow_pipelines.say import Console, print_table, say

schedule = typer.Typer(
    no_args_is_help=True,
    help="Runs that start by themselves, such as retraining: on a Kubeflow cluster, or without --host on this machine.",
)
Connect = partial[Connection]

NameOrId = Annotated[str, Argument(metavar="NAME|ID", help="Name or id of the schedule.")]


@schedule.command("create")
@expanding(run=later(choose_run), connection=later(make_connection))
def create(
    run: partial[ClusterRun],
    connection: Connect,
    name: Annotated[str, Option(help="Name of the schedule.")],
    local: Annotated[
        str | None,
        Option(
            metavar="CRON",
            help="On this machine, by its cron: five fields in its own time; '0 3 * * *' is every day at 3:00.",
        ),
    ] = None,
    cron: Annotated[
        str | None,
        Option(help="Six fields, seconds first: '0 0 3 * * mon' is Mondays at 3:00. UTC, unless the cluster differs."),
    ] = None,
    every: Annotated[str | None, Option(help="Interval instead: 90m, 6h, 7d.")] = None,
    concurrency: Annotated[
        int, Option("--max-concurrency", min=1, max=10, help="Runs at a time; further ones wait.")
    ] = 1,
    catch_up: Annotated[
        bool, Option("--catch-up", help="Make up for runs that were missed, one after the other.")
    ] = False,
    upload_as: Annotated[str | None, Option(help="Name of the pipeline on the server that gets a new version.")] = None,
    version_name: Annotated[str | None, Option(help="Name of the version; made from the content if not given.")] = None,
    experiment: options.Experiment = None,
    service_account: options.ServiceAccount = None,
) -> None:
    """Have a pipeline run again and again.

    On a cluster the pipeline is uploaded; a run that is due while another goes on waits for it. Each does all of its
    work anew: Kubeflow's cache would take it for the one before. With --local, cron or systemd of this machine starts
    a run with the same options in this folder; one that is due while another goes on is left out. Missed runs are left
    out unless told otherwise.
    """
    if local is not None:
        of_a_cluster = {
            "cron": cron, "every": every, "max-concurrency": None if concurrency == 1 else concurrency,
            "upload-as": upload_as, "version-name": version_name, "service-account": service_account,
        }  # fmt: skip
        _create_local(name, local, run.keywords, of_a_cluster, catch_up=catch_up)
        return

    console, when, chosen, reached = Console(), _when(cron, every), run(), connection()
    package = compile_run(chosen, console).without_cache()
    api = Api(reached)
    remote.check_name_is_free(api, name)  # before anything is uploaded
    version = remote.upload(api, package, pipeline=upload_as, version=version_name)
    schedule_id = remote.create_schedule(
        api,
        version,
        name=name,
        when=when,
        experiment=experiment or chosen.settings.tracking.experiment,
        concurrency=concurrency,
        catch_up=catch_up,
        service_account=service_account or chosen.resources.service_account,
        description=describe(chosen),
    )
    say(
        console,
        f"schedule '{name}' runs version {version.name} of {version.pipeline}: {when}",
        f"id {schedule_id}",
        reached.schedule_page(schedule_id),
    )


@schedule.command("list")
@expanding(connection=later(make_connection))
def list_command(connection: Connect) -> None:
    """List the schedules and when they run."""
    console = Console()
    if _on_this_machine(connection):
        _list_local(console)
        return

    id_column = Column("id", no_wrap=True)
    table = Table("schedule", id_column, "runs", "state", "at a time", "missed runs")
    for one in remote.list_schedules(Api(connection())):
        state, missed = "on" if one.enabled else "paused", "made up for" if one.catch_up else "left out"
        table.add_row(one.name, one.schedule_id, str(one.when), state, str(one.concurrency), missed)
    if not table.rows:
        say(console, "no schedules; make one with: advantageflow schedule create")
        return
    print_table(console, table)


@schedule.command("pause")
@expanding(connection=later(make_connection))
def pause(connection: Connect, schedule_name: NameOrId) -> None:
    """Start no more runs for now; those under way go on."""
    name, _ = _change(connection, schedule_name, "disable")
    say(Console(), f"schedule '{name}' is paused; go on with: advantageflow schedule resume {schedule_name}")


@schedule.command("resume")
@expanding(connection=later(make_connection))
def resume(connection: Connect, schedule_name: NameOrId) -> None:
    """Let a paused schedule start runs again."""
    name, when = _change(connection, schedule_name, "enable")
    say(Console(), f"schedule '{name}' is on: {when}")


@schedule.command("delete")
@expanding(connection=later(make_connection))
def delete(connection: Connect, schedule_name: NameOrId) -> None:
    """Delete a schedule; its runs and its pipeline stay."""
    name, _ = _change(connection, schedule_name, "delete")
    say(Console(), f"schedule '{name}' is deleted; its runs stay")


@schedule.command("history")
def history_command(name: Annotated[str, Argument(metavar="NAME", help="Schedule of this machine.")]) -> None:
    """Show each start of a schedule on this machine, and what it came to; those of a cluster are its runs."""
    console, table = Console(), Table("started", "ended", "status", "outcome")
    schedules.find_schedule(name)
    for one in schedules.history(name):
        status = {0: "ok", None: "left out"}.get(one["status"], f"failed ({one['status']})")
        table.add_row(one["started"], one["ended"] or "", status, one["outcome"])
    print_table(console, table)
    say(console, f"log: {schedules.folder_of(name) / 'log'}")


@schedule.command("fire", hidden=True)
def fire_command(name: str, if_missed: Annotated[bool, Option("--if-missed")] = False) -> None:
    """What cron or systemd calls."""
    found = schedules.find_schedule(name)
    if not if_missed or schedules.missed(found):
        raise typer.Exit(schedules.fire(found))


def _on_this_machine(connection: Connect) -> bool:
    """Whether no server is named."""
    given = connection.keywords
    return given["host"] is None and not given["in_cluster"]


def _change(connection: Connect, name: str, change: Literal["disable", "enable", "delete"]) -> tuple[str, str]:
    """The schedule's name, and when it runs."""
    if _on_this_machine(connection):
        found = schedules.find_schedule(name).model_copy(update={"enabled": change == "enable"})
        schedules.delete_schedule(name) if change == "delete" else found.write()
        return name, f"cron {found.cron}, next {found.next_time():%Y-%m-%d %H:%M}"

    api = Api(connection())
    there = remote.find_schedule(api, name)
    remote.change_schedule(api, there, change)
    return there.name, str(there.when)


def _create_local(
    name: str, cron: str, chosen: dict[str, Any], of_a_cluster: dict[str, Any], *, catch_up: bool
) -> None:
    """A schedule of `advantageflow run` with the options that were given, which are tried first."""
    of_a_cluster |= {option: chosen[option] for option in ("resources", "images", "image")}
    named = sorted(option for option, value in of_a_cluster.items() if value is not None)
    if named:
        where, remedy = ", ".join(f"--{option}" for option in named), "leave it away"
        raise SettingsError("a run on this machine has no such option", where=where, remedy=remedy)
    of_run = {option: value for option, value in chosen.items() if value is not None}
    options.choose(**of_run)
    arguments = []
    for option, value in of_run.items():
        flag = {"assignments": "--set"}.get(option, f"--{option.replace('_', '-')}")
        arguments += [part for one in (value if isinstance(value, list) else [value]) for part in (flag, str(one))]
    made = schedules.new_schedule(name, cron, arguments, catch_up=catch_up)
    made.write()
    say(Console(), f"schedule '{name}': cron {made.cron}, next {made.next_time():%Y-%m-%d %H:%M}")


def _list_local(console: Console) -> None:
    table = Table("schedule", "cron", "state", "next", "last", "missed runs", "run")
    for one in schedules.all_schedules():
        state, missed = "on" if one.enabled else "paused", "made up for" if one.catch_up else "left out"
        due = f"{one.next_time():%Y-%m-%d %H:%M}" if one.enabled else ""
        last = next((entry["started"][:16].replace("T", " ") for entry in reversed(schedules.history(one.name))), "")
        table.add_row(one.name, one.cron, state, due, last, missed, " ".join(one.arguments))
    if not table.rows:
        say(console, "no schedules on this machine; make one with: advantageflow schedule create --local '0 3 * * *'")
        return
    print_table(console, table)


def _when(cron: str | None, every: str | None) -> remote.When:
    if (cron is None) == (every is None):
        message = "neither is given" if cron is None else "both are given"
        remedy = "give one: --cron '0 0 3 * * mon' (seconds first, UTC), or --every 6h"
        remedy += "; on this machine --local '0 3 * * *' alone"
        raise SettingsError(message, where="--cron, --every", remedy=remedy)
    return remote.by_interval(every) if every is not None else remote.by_cron(cron or "")
