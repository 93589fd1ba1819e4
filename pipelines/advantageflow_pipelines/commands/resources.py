"""`advantageflow resources`: what each stage may get of a cluster, to choose from or to start one's own file with."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from advantageflow.settings import RunSettings
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.pipelines import find_pipeline
from advantageflow_pipelines.pipelines.definition import Pipeline
from advantageflow_pipelines.placing.resources.files import list_resources, load_resources, resources_text
from advantageflow_pipelines.say import Console, print_table

resources = typer.Typer(no_args_is_help=True, help="What each stage gets of a cluster: GPUs, memory, nodes, retries.")


@resources.command("list")
def resources_list(pipeline: options.Pipeline = None) -> None:
    """List the presets of resources and what each is for."""
    table = Table("resources", "what they are for")
    for name, purpose in list_resources(_pipeline(pipeline)).items():
        table.add_row(name, purpose)
    print_table(Console(), table)


@resources.command("show")
def resources_show(
    name: Annotated[str, typer.Argument(help="Name of a preset, or your own YAML file.")],
    everything: Annotated[bool, typer.Option("--all", help="What each stage gets in the end, defaults too.")] = False,
    pipeline: options.Pipeline = None,
) -> None:
    """Print resources, to be saved and changed as your own file (`base: NAME` and what differs is enough)."""
    if not everything:
        print(resources_text(name, _pipeline(pipeline)), end="")
        return
    import yaml

    print(yaml.safe_dump(load_resources(name, _pipeline(pipeline)).as_values(), sort_keys=False), end="")


def _pipeline(name: str | None) -> Pipeline:
    return find_pipeline(name or RunSettings().pipeline)
