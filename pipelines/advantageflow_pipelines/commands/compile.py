"""`advantageflow compile`: the pipeline as a file for a Kubeflow cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from advantageflow.errors import SettingsError
from advantageflow.store.files import writing
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.images import StageImages


def compile_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("pipeline.yaml"),
    preset: options.Preset = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    rounds: options.Rounds = None,
    seed: options.Seed = None,
    init_policy: options.InitPolicy = None,
    image: Annotated[str | None, typer.Option("--image", help="One container image for all stages.")] = None,
) -> None:
    """Write the pipeline as a file that a Kubeflow cluster takes.

    The file is Kubeflow's YAML: upload it in the pipelines page or with `kfp run create`. Seed and settings are
    parameters there; rounds, shards and which rounds are evaluated are fixed in the file.
    """
    from advantageflow_pipelines.online import compile_pipeline

    images = StageImages() if image is None else StageImages.all_the_same(image)
    settings = options.choose(preset, config, assignments, rounds, seed, init_policy)
    if output.suffix not in (".yaml", ".yml"):
        remedy = "give a name that ends in .yaml"
        raise SettingsError("Kubeflow takes YAML files only", where=f"--output {output}", remedy=remedy)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        compile_pipeline(settings, output, images)
    Console().print(
        f"{output}: {settings.rounds} round(s) of {settings.rollout.shards} shards, training in {images.training}",
        markup=False,
    )
