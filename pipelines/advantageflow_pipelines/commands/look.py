"""`advantageflow ui`, `presets` and `resources`: what there is to see and to choose from."""

import os
from collections.abc import Mapping
from typing import Annotated

import typer
import yaml
from rich.table import Table
from typer import Argument, Option

from advantageflow.settings import RunSettings
from advantageflow.tracking.mlflow_store import open_client, sqlite_uri
from advantageflow.tracking.ui import page_of_runs, ui_command
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.tracking import STORE_FILE
from advantageflow_pipelines.pipelines import find_pipeline
from advantageflow_pipelines.pipelines.definition import Pipeline
from advantageflow_pipelines.placing.resources.files import list_resources, load_resources, resources_text
from advantageflow_pipelines.presets import list_presets, preset_text
from advantageflow_pipelines.say import Console, print_table, say

presets = typer.Typer(no_args_is_help=True, help="Named settings to start from.")
resources = typer.Typer(no_args_is_help=True, help="What each stage gets of a cluster: GPUs, memory, nodes, retries.")


def ui(
    runs: options.Runs = options.RUNS,
    host: Annotated[str, Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535, help="Port to serve on.")] = 5000,
    experiment: Annotated[
        str | None, Option("--experiment", "-e", help="Whose runs are shown; that of the newest run if not given.")
    ] = None,
    run: Annotated[str | None, Option(help="Show this run: its name, folder or id in MLflow.")] = None,
) -> None:
    """Open MLflow's pages on the runs: curves, settings, sample pictures by round. Stop with Ctrl-C."""
    command = ui_command(runs / STORE_FILE, host, port)
    page = page_of_runs(open_client(sqlite_uri(runs / STORE_FILE)), experiment, run)
    say(Console(), f"MLflow: http://{host}:{port}{page}", "stop with Ctrl-C")
    os.execv(command[0], command)  # noqa: S606 - this command itself, without a shell


@presets.command("list")
def presets_list() -> None:
    """List the presets and what each is for."""
    _print("preset", list_presets())


@presets.command("show")
def presets_show(
    name: Annotated[str, Argument(help="Name of the preset.")],
    everything: Annotated[bool, Option("--all", help="With what it leaves at the defaults.")] = False,
) -> None:
    """Print a preset, to be saved and changed as your own --config file."""
    if not everything:
        print(preset_text(name), end="")
        return
    settings = choose_settings(preset=name).model_dump(mode="json")
    print(yaml.safe_dump(settings, sort_keys=False), end="")


@resources.command("list")
def resources_list() -> None:
    """List the presets of resources and what each is for."""
    _print("resources", list_resources())


@resources.command("show")
def resources_show(
    name: Annotated[str, Argument(help="Name of a preset, or your own YAML file.")],
    everything: Annotated[bool, Option("--all", help="What each stage gets in the end, defaults too.")] = False,
    pipeline: options.Pipeline = None,
) -> None:
    """Print resources, to be saved and changed as your own file (`base: NAME` and what differs is enough)."""
    if not everything:
        print(resources_text(name, _pipeline(pipeline)), end="")
        return
    print(yaml.safe_dump(load_resources(name, _pipeline(pipeline)).as_values(), sort_keys=False), end="")


def _pipeline(name: str | None) -> Pipeline:
    return find_pipeline(name or RunSettings().pipeline)


def _print(what: str, known: Mapping[str, str]) -> None:
    table = Table(what, "what it is for")
    for row in known.items():
        table.add_row(*row)
    print_table(Console(), table)
