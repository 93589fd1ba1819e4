"""`advantageflow generate` and `pretrain-shapes`: a picture from a model, and the embedded model from nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from advantageflow.errors import PolicyError, SettingsError, StoreError
from advantageflow.prompts.sources import EMBEDDED
from advantageflow.records import STATE_FILE
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.store.files import writing
from advantageflow.store.policies import read_policy_state
from advantageflow.store.published import local_folder
from advantageflow_pipelines.local.results import policy_folders
from advantageflow_pipelines.local.workdir import open_workdir

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
            "--model", "-m", help="base, a run's working folder, or a policy: its folder, or where it is published."
        ),
    ] = BASE,
    base_model: Annotated[
        str | None,
        typer.Option("--base-model", help="With --model base: shapes (if not given), a diffusers folder or a hub id."),
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
    """The model that `base`, a working folder, a policy folder or a published policy means.

    Args:
        name: what it is.
        base_model: the base model of `base`, or of a policy that does not know its own; the embedded one if None.

    Raises:
        PolicyError: there is no policy in the folder.
        SettingsError: a base model is given for a policy that has its own.
        StoreError: nothing is published at the address, or it cannot be fetched.
    """
    if name == BASE:
        base_model = base_model or EMBEDDED
        return Tuned(f"base model {base_model}", ModelSettings(name=base_model), None, EvaluationSettings())
    folder = local_folder(name)
    if (folder / "settings.yaml").is_file():
        _refuse_base_model(base_model)
        workdir, settings = open_workdir(folder)
        policies = policy_folders(workdir)
        if not policies:
            remedy = f"continue the run with: advantageflow run --resume {folder}"
            raise PolicyError("the run has made no policy yet", where=name, remedy=remedy)
        last = max(policies)
        return Tuned(f"{folder.name} after round {last}", settings.model, policies[last], settings.evaluation)
    if not (folder / STATE_FILE).is_file():
        remedy = "give 'base', the working folder of a run, or a policy folder (it holds state.json)"
        raise PolicyError("no model is there", where=f"--model {name}", remedy=remedy)
    model = read_policy_state(folder).get("settings", {}).get("model")
    if model is None:
        model = {"name": base_model or EMBEDDED}
    else:
        _refuse_base_model(base_model)
    return Tuned(f"policy {name}", ModelSettings.model_validate(model), folder, EvaluationSettings())


def draw(tuned: Tuned, prompt: str, seed: int, sampling: EvaluationSettings, output: Path) -> None:
    """Generate one picture and write it as PNG.

    Raises:
        PolicyError: the model or its policy cannot be loaded.
        StoreError: the file cannot be written.
    """
    from PIL import Image

    from advantageflow.policy.generate import Generator
    from advantageflow.policy.loading import encode_prompts, load_family

    told = encode_prompts(tuned.model, [prompt, load_family(tuned.model).unconditional])
    generator = Generator(tuned.model, tuned.policy, "policy", sampling.threads)
    _, images = generator.images(
        told.rows([0]),
        [seed],
        steps=sampling.steps,
        sampler=sampling.sampler,
        shift=sampling.shift,
        guidance_scale=sampling.guidance_scale,
        unconditional=told.rows([1]),
    )
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[0]).save(output, format="PNG")


def pretrain_shapes(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the diffusers pipeline to.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of scenes, weights and batches.")] = 0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")] = 2,
    effort: Annotated[
        float, typer.Option("--effort", min=0.0001, max=1.0, help="Share of the full number of scenes and steps.")
    ] = 1.0,
) -> None:
    """Pretrain the embedded model from nothing, as the one that is shipped was (under an hour on two cores)."""
    from advantageflow.shapes.pretrain import PretrainSettings, pretrain

    console = Console()
    settings = PretrainSettings(seed=seed, threads=threads).scaled(effort)
    pretrain(output, settings, report=lambda line: console.print(line, highlight=False))
    console.print(f"written to {output}; use it with --set model.name={output}", markup=False, soft_wrap=True)


def _check_output(output: Path) -> None:
    with writing(output):
        if output.is_dir():
            raise StoreError("is a folder", where=f"--output {output}", remedy="give the name of a PNG file")


def _refuse_base_model(base_model: str | None) -> None:
    if base_model is not None:
        remedy = "leave --base-model away: a tuned model is drawn with the base model that it was trained on"
        raise SettingsError("is only for --model base", where=f"--base-model {base_model}", remedy=remedy)
