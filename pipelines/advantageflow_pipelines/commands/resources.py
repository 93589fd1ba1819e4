"""`advantageflow resources`: what each stage may get of a cluster, to choose from or to start one's own file with."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from advantageflow_pipelines.placing.resources.files import list_resources, load_resources, resources_text

resources = typer.Typer(no_args_is_help=True, help="What each stage gets of a cluster: GPUs, memory, nodes, retries.")


@resources.command("list")
def resources_list() -> None:
    """List the presets of resources and what each is for."""
    table = Table("resources", "what they are for")
    for name, purpose in list_resources().items():
        table.add_row(name, purpose)
    Console().print(table)


@resources.command("show")
def resources_show(
    name: Annotated[str, typer.Argument(help="Name of a preset, or your own YAML file.")],
    everything: Annotated[bool, typer.Option("--all", help="What each stage gets in the end, defaults too.")] = False,
) -> None:
    """Print resources, to be saved and changed as your own file (`base: NAME` and what differs is enough)."""
    if not everything:
        print(resources_text(name), end="")
        return
    import yaml

    print(yaml.safe_dump(load_resources(name).model_dump(mode="json"), sort_keys=False), end="")
