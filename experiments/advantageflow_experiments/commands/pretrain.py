"""`advantageflow pretrain-shapes`, the embedded model from nothing; `distil-shapes`, a few-step model from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advantageflow_pipelines.say import Console


def pretrain_shapes(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the diffusers pipeline to.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of scenes, weights and batches.")] = 0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 2,
    effort: Annotated[
        float, typer.Option("--effort", min=0.0001, max=1.0, help="Share of the full number of scenes and steps.")
    ] = 1.0,
) -> None:
    """Pretrain the embedded model from nothing, as the one that is shipped was (under an hour on two cores)."""
    from advantageflow_experiments.shapes.pretrain import PretrainSettings, pretrain

    console = Console()
    settings = PretrainSettings(seed=seed, threads=threads).scaled(effort)
    pretrain(output, settings, report=lambda line: console.print(line, highlight=False))
    console.print(f"written to {output}; use it with --set model.name={output}", markup=False, soft_wrap=True)


def distil_shapes(
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder to write the model to.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of paths and batches.")] = 0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 2,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps.")] = 3000,
    paths: Annotated[int, typer.Option("--paths", min=1, help="Paths of the embedded model to learn from.")] = 4096,
) -> None:
    """Distil the embedded model into a mean flow of one to four steps (some minutes on two cores)."""
    from advantageflow_experiments.shapes.distil import DistilSettings, distil

    console = Console()
    settings = DistilSettings(seed=seed, threads=threads, steps=steps, paths=paths)
    distil(output, settings, report=lambda line: console.print(line, highlight=False))
    console.print(
        f"written to {output}; use it with --set model.name={output} --set rollout.sampler=euler --set rollout.steps=2 "
        "--set evaluation.sampler=euler --set evaluation.steps=2",
        markup=False, soft_wrap=True,
    )  # fmt: skip
