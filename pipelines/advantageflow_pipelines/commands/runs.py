"""`advantageflow runs`: the runs on this machine, or on a Kubeflow cluster; or some of them side by side."""

import itertools
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.cells import cell_len
from rich.table import Column, Table
from typer import Option

from advantageflow.errors import DataError, SettingsError, UserError
from advantageflow.evaluation.labels import strict_label
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import difference
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.store.files import reading
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import Connection, make_connection_if_asked
from advantageflow_pipelines.client.runs import known_experiment, list_runs
from advantageflow_pipelines.client.stages import from_cache
from advantageflow_pipelines.commands import options, run_actions
from advantageflow_pipelines.commands.options import expanding
from advantageflow_pipelines.commands.run_actions import heal_mlflow
from advantageflow_pipelines.local.summary import read_summary
from advantageflow_pipelines.local.tracking import sync_left
from advantageflow_pipelines.local.workdir import open_workdir, read_report
from advantageflow_pipelines.say import Console, print_table, say, warn

runs = typer.Typer(help="List the runs and what they came to; on a cluster follow one, end it, or submit it again.")


@runs.callback(invoke_without_command=True)
@expanding(connection=make_connection_if_asked)
def list_command(
    context: typer.Context,
    connection: Connection | None,
    folder: options.Runs = options.RUNS,
    experiment: Annotated[
        str | None, Option("--experiment", "-e", help="With --host: of this experiment only.")
    ] = None,
    limit: Annotated[int, Option(min=1, help="With --host: the newest so many.")] = 50,
    compare: Annotated[
        list[Path] | None, Option(metavar="FOLDER", help="Put runs side by side; to be given for each of them.")
    ] = None,
) -> None:
    """List the runs and what they came to: those on this machine, or with --host those on a Kubeflow cluster.

    What MLflow lacks of runs here that were killed is brought there, and they are ended there.
    With --host and MLFLOW_TRACKING_URI set, runs of which MLflow says otherwise are set right there, and named.
    """
    if context.invoked_subcommand is not None:
        return
    if compare:
        show_comparison(Console(), [path if path.exists() else folder / path for path in compare])
    elif connection is None:
        _list_local(folder)
    else:
        _list_remote(connection, experiment, limit)


for _name, _action in run_actions.ACTIONS.items():
    runs.command(_name)(_action)


def _list_remote(connection: Connection, experiment: str | None, limit: int) -> None:
    console = Console()
    table = Table(Column("run", overflow="fold"), Column("id", no_wrap=True), "state", "started", "seconds")
    api = Api(connection)
    found = list(itertools.islice(list_runs(api, experiment and known_experiment(api, experiment)), limit))
    for run in found:
        created = run.created.astimezone().strftime("%Y-%m-%d %H:%M") if run.created else ""
        seconds = "" if run.seconds is None else f"{run.seconds:.0f}"
        state = f"{run.word} (from the cache)" if from_cache(run) else run.word
        table.add_row(run.name, run.run_id, state, created, seconds)
    if not table.rows:
        say(console, "no runs there; start one with: advantageflow submit")
        return
    print_table(console, table)
    say(console, f"pages: {connection.run_page('ID')}")
    heal_mlflow(api, found, console)


def _list_local(runs: Path) -> None:
    console = Console()
    folders = _run_folders(runs)
    if not folders:
        say(console, f"no runs under {runs}; start one with: advantageflow run")
        return
    rows: list[tuple[list[str], str]] = []  # cells and style
    for folder in folders:
        try:
            rows.append(_row(folder))
        except (UserError, OSError) as error:
            reason = error.message if isinstance(error, UserError) else error.strerror or str(error)
            rows.append(([folder.name, reason, "", "", ""], "red"))
        except (LookupError, TypeError, ValueError):  # JSON, but not a summary
            rows.append(([folder.name, "summary.json is damaged", "", "", ""], "red"))
    table = Table(box=box.SIMPLE, pad_edge=False)
    names = min(40, max(cell_len(line) for cells, _ in rows for line in cells[0].splitlines()))
    widths = {"run": names, "trained on": max(12, console.width - names - 42), "measure": 9, "start": 5, "result": 14}
    for name, width in widths.items():  # rich would cut the last one to fit 80 columns
        table.add_column(name, overflow="fold", max_width=width if console.is_terminal else None)
    for cells, style in rows:
        table.add_row(*cells, style=style)
    print_table(console, table)
    for name in sync_left(folders, partial(warn, console)):
        say(console, f"MLflow has all of {name} now, which had not been ended there")


def _run_folders(runs: Path) -> list[Path]:
    """Folders that hold a run, or that this user may not look into."""
    with reading(runs):
        folders = [path for path in sorted(runs.glob("*")) if path.is_dir()]
    return [path for path in folders if not os.access(path, os.X_OK) or (path / "settings.yaml").exists()]


def _row(folder: Path) -> tuple[list[str], str]:
    workdir = open_workdir(folder)
    settings, summary = workdir.settings, read_summary(workdir)
    of = f"{' + '.join(term_name(term) for term in settings.reward.terms)}, {settings.training.objective.name}"
    start = ["\n".join(filter(None, (folder.name, settings.tracking.name))), of]
    if summary is None:
        return [*start, "", "", "not complete"], "dim"
    base = summary.get("start", summary["base"])["strict"]
    final, change = summary["final"]["strict"], summary["difference"]["strict"]
    return [*start, strict_label(summary["final"]), f"{base:.3f}", f"{final:.3f} ({change:+z.3f})"], ""


_BARS = "▁▂▃▄▅▆▇█"


def show_comparison(console: Console, folders: Sequence[Path]) -> None:
    """Print the runs of these working folders side by side, the first as the reference.
    Raises SettingsError: fewer than two are given, one holds no run, or one has no evaluation yet.
    """
    if len(folders) < 2:
        remedy = "give --compare for each of at least two working folders"
        raise SettingsError("one run cannot be compared", where="--compare", remedy=remedy)
    runs = [open_workdir(folder) for folder in folders]
    names = [run.root.name for run in runs]
    reports = [run.reports() for run in runs]
    for name, found in zip(names, reports, strict=True):
        if not found:
            raise SettingsError("has no evaluation yet", where=name, remedy="wait for its first one")
    metrics = [{number: read_report(folder) for number, folder in found.items()} for found in reports]
    finals = [one[max(one)] for one in metrics]
    table = Table(
        "",
        *(Column(name, overflow="fold") for name in names),
        title=f"{strict_label(finals[0])} on held-out prompts",
        title_justify="left",
    )
    table.add_row("start", *(f"{one[min(one)]['strict']:.3f}" for one in metrics))
    table.add_row("final", *(f"{one['strict']:.3f}" for one in finals), style="bold")
    table.add_row("95% interval", *("{:z.3f} to {:z.3f}".format(*one["strict_ci95"]) for one in finals))
    table.add_row("by round", *(_curve([one["strict"] for one in of_run.values()]) for of_run in metrics))
    table.add_row("against the first", "", *(_against(reports[0], other) for other in reports[1:]))
    table.add_section()
    for task in finals[0]["tasks"]:
        values = [f"{one['tasks'][task]:.3f}" if task in one["tasks"] else "" for one in finals]
        table.add_row(task, *values)
    table.add_section()
    flat = [_flat(run.settings.model_dump(mode="json", exclude={"tracking"})) for run in runs]
    for name in dict.fromkeys(name for one in flat for name in one):
        given = [one.get(name) for one in flat]
        if any(value != given[0] for value in given):
            table.add_row(name, *("" if value is None else str(value) for value in given))
    print_table(console, table)
    say(console, "against the first: paired by prompt and noise, with its 95 % interval; below, settings that differ")


def _against(first: Mapping[int, Path], other: Mapping[int, Path]) -> str:
    """The change of the last evaluation, where both judged the same images."""
    try:
        change = difference(read_outcomes(first[max(first)]), read_outcomes(other[max(other)]), "strict").overall
    except DataError:
        return "other images"
    return f"{change.mean:+z.3f} ({change.low:+z.3f} to {change.high:+z.3f})"


def _curve(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return "".join(_BARS[round((value - low) / ((high - low) or 1) * (len(_BARS) - 1))] for value in values)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
