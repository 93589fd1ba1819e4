"""`advantageflow generate`: a picture from a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advantageflow.errors import SettingsError, StoreError
from advantageflow.prompts.sources import EMBEDDED
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.store.files import writing
from advantageflow_pipelines.local.drawing import draw
from advantageflow_pipelines.local.policies import find_policy
from advantageflow_pipelines.say import Console, say

BASE = "base"


def generate(
    prompt: Annotated[str, typer.Argument(help='What the picture shows, such as "a red circle left of a blue star".')],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path("out.png"),
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="base, a run's working folder, a policy, an adapter (PEFT, diffusers, kohya), or where one is "
            "published (s3://...) or registered (models:/NAME@alias).",
        ),
    ] = BASE,
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base-model",
            help="With --model base or an adapter: shapes (if not given), a diffusers folder or a hub id.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the initial noise.")] = 0,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Model evaluations; as in the run if not given.")
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option("--guidance-scale", min=1.0, help="1 is none; as in the run if not given."),
    ] = None,
) -> None:
    """Generate one picture with the base model or with a tuned one."""
    with writing(output):
        if output.is_dir():
            raise StoreError("is a folder", where=f"--output {output}", remedy="give the name of a PNG file")
    found = None if model == BASE else find_policy(model)
    known = found.model if found else None
    if known is not None and base_model is not None:
        remedy = "leave --base-model away: a tuned model is drawn with the base model that it was trained on"
        raise SettingsError("is only for --model base", where=f"--base-model {base_model}", remedy=remedy)
    base = known or ModelSettings(name=base_model or EMBEDDED)
    changes = {"steps": steps, "guidance_scale": guidance_scale}
    sampling = found.sampling if found else EvaluationSettings()
    sampling = sampling.model_copy(update={k: v for k, v in changes.items() if v is not None})
    (picture,) = draw(base, found.path if found else None, [prompt], seed, sampling)
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        picture.save(output, format="PNG")
    name = found.name if found else f"base model {base.name}"
    how = f"seed {seed}, {sampling.steps} steps, guidance {sampling.guidance_scale:g}"
    say(Console(), f"{output}: '{prompt}' by {name}, {how}")
