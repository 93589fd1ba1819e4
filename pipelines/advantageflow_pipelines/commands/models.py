"""`advantageflow generate`: a picture from a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from advantageflow.errors import SettingsError, StoreError
from advantageflow.prompts.sources import EMBEDDED
from advantageflow.records import ADAPTER_FOLDER
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.store.files import writing
from advantageflow.store.policies import read_policy_state
from advantageflow_pipelines.local.policies import find_policy, policy_artifact

BASE = "base"


@dataclass(frozen=True)
class Tuned:
    """A model to generate with.

    Attributes:
        name: what a person calls it.
        model: the base model.
        policy: the tuned policy; None for the base model.
        sampling: how its run evaluated it.
    """

    name: str
    model: ModelSettings
    policy: Path | None
    sampling: EvaluationSettings


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
    _check_output(output)
    tuned = find_model(model, base_model)
    changes = {"steps": steps, "guidance_scale": guidance_scale}
    sampling = tuned.sampling.model_copy(update={k: v for k, v in changes.items() if v is not None})
    draw(tuned, prompt, seed, sampling, output)
    Console().print(
        f"{output}: '{prompt}' by {tuned.name}, seed {seed}, {sampling.steps} steps, "
        f"guidance {sampling.guidance_scale:g}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def find_model(name: str, base_model: str | None = None) -> Tuned:
    """The model that `base`, or a name of a policy (see `find_policy`), means.

    Args:
        name: what it is.
        base_model: the base model of `base`, or of a policy that does not know its own; the embedded one if None.

    Raises:
        PolicyError: there is no such policy.
        SettingsError: a base model is given for a policy that has its own.
        StoreError, TrackingError: nothing is published or registered at the address, or it cannot be fetched.
    """
    if name == BASE:
        base_model = base_model or EMBEDDED
        return Tuned(f"base model {base_model}", ModelSettings(name=base_model), None, EvaluationSettings())
    if (Path(name) / "settings.yaml").is_file():
        _refuse_base_model(base_model)
    found = find_policy(name)
    if found.run is not None:
        settings = found.run[1]
        return Tuned(found.name, settings.model, found.path, settings.evaluation)
    model = read_policy_state(found.path).model if found.is_artifact else None
    if model is not None:
        _refuse_base_model(base_model)
    return Tuned(found.name, model or ModelSettings(name=base_model or EMBEDDED), found.path, EvaluationSettings())


def draw(tuned: Tuned, prompt: str, seed: int, sampling: EvaluationSettings, output: Path) -> None:
    """Generate one picture and write it as PNG.

    Raises:
        PolicyError: the model or its policy cannot be loaded, or what they make is not finite.
        StoreError: the file cannot be written.
    """
    from PIL import Image

    from advantageflow.policy.divergence import check_finite
    from advantageflow.policy.generate import Generator
    from advantageflow.policy.loading import load_family
    from advantageflow.policy.text import encode_prompts

    told = encode_prompts(tuned.model, [prompt, load_family(tuned.model).unconditional])
    with policy_artifact(tuned.policy, tuned.model) as policy:
        generator = Generator(tuned.model, policy, ADAPTER_FOLDER, sampling.threads)
    latents, images = generator.images(
        told.rows([0]),
        [seed],
        steps=sampling.steps,
        sampler=sampling.sampler,
        shift=sampling.shift,
        guidance_scale=sampling.guidance_scale,
        unconditional=told.rows([1]),
    )
    check_finite(latents, [f"'{prompt}'"])
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[0]).save(output, format="PNG")


def _check_output(output: Path) -> None:
    with writing(output):
        if output.is_dir():
            raise StoreError("is a folder", where=f"--output {output}", remedy="give the name of a PNG file")


def _refuse_base_model(base_model: str | None) -> None:
    if base_model is not None:
        remedy = "leave --base-model away: a tuned model is drawn with the base model that it was trained on"
        raise SettingsError("is only for --model base", where=f"--base-model {base_model}", remedy=remedy)
