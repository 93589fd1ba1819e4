"""`advantageflow compile`: the pipeline as a file for a Kubeflow cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow.store.files import writing
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.expand import expanding
from advantageflow_pipelines.commands.sending import choose, compile_run
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.say import Console, say, warn


@expanding(settings=choose)
def compile_command(
    settings: RunSettings,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("pipeline.yaml"),
    image: options.Image = None,
    images: options.Images = None,
    resources: options.Resources = None,
) -> None:
    """Write the pipeline as a file that a Kubeflow cluster takes.

    The file is Kubeflow's YAML: upload it in the pipelines page or with `kfp run create`. Its run form shows what
    changes from run to run one by one, and the other settings as JSON, a section each; rounds, shards, images,
    resources and which rounds are evaluated are fixed in the file.
    """
    console = Console()
    if output.suffix not in (".yaml", ".yml"):
        raise SettingsError(
            "Kubeflow takes YAML files only", where=str(output), remedy="give a name that ends in .yaml"
        )
    run = cluster_run(settings, options.choose_images(images, image, settings), resources)
    package = compile_run(run, console)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(package.as_yaml(), encoding="utf-8")
    if images is None and image is None:
        image_of_all = next(iter(run.images.values()))
        warn(
            console,
            f"the images are those of this version ({image_of_all}), a name that every build moves: before the "
            "file is sent to a cluster, compile it with --images, the file that docker/build.sh writes",
        )
    found = pipeline_of(settings)
    tasks = sum(found.tasks(settings).values())
    what = f"pipeline {found.name}, {found.describe(settings)}, {tasks} tasks, resources {run.resources.preset}"
    say(console, f"{output}: {what}")
