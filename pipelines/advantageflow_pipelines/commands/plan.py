"""`advantageflow plan`: what a run will cost, before anything is spent."""

import json
from typing import Annotated

from typer import Option

from advantageflow.errors import SettingsError
from advantageflow.rewards.plumbing.terms import built_in_rewards
from advantageflow.settings import RunSettings
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.options import expanding
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.resources.files import load_resources
from advantageflow_pipelines.placing.resources.fit import fit
from advantageflow_pipelines.plan.speed import DEFAULT_GPU, GPUS, Speed, find_gpu
from advantageflow_pipelines.say import Console


@expanding(settings=options.choose)
def plan(
    settings: RunSettings,
    gpu: Annotated[str | None, Option(help=f"One of {', '.join(GPUS)}; {DEFAULT_GPU} if not given.")] = None,
    gpus: Annotated[int | None, Option(min=1, help="How many of them; as many as --resources or training use.")] = None,
    resources: options.Resources = None,
    gpu_price: Annotated[
        float | None, Option(min=0, help="Of a GPU-hour, in any currency; tracking.gpu_price.")
    ] = None,
    utilisation: Annotated[
        float | None, Option(min=0.01, max=1.0, help="Share of the GPU's peak; the measured one if not given.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a run will cost: images, passes, GPU-hours, memory, storage, weights and their licences.

    Counts on the model's true shape, from its configuration: no weights are needed, nothing is computed or downloaded.
    Where the model, its adapter or a batch is not a preset's this takes half a minute the first time.
    """
    from advantageflow_pipelines.plan.estimate import make_plan
    from advantageflow_pipelines.plan.show import show_plan

    built_in_rewards(settings.reward)  # refuses what a run would
    if gpu_price is not None:
        tracking = settings.tracking.model_copy(update={"gpu_price": gpu_price})
        settings = settings.model_copy(update={"tracking": tracking})
    settings, used = _with_resources(settings, resources)
    speed = _speed(settings, gpu, gpus or used, utilisation)
    with Console(stderr=True).status("counting; half a minute where this model is no preset's"):
        made = make_plan(settings, speed, resources)
    if as_json:
        print(json.dumps(made.as_json(), indent=2))
    else:
        show_plan(Console(), made)


def _with_resources(settings: RunSettings, name: str | None) -> tuple[RunSettings, int]:
    """Settings with the processes and nodes that resources give, and how many GPUs are in use at once."""
    trainers = settings.training.processes * settings.training.nodes
    if name is None:
        return settings, trainers
    pipeline = pipeline_of(settings)
    settings, resources = fit(settings, load_resources(name, pipeline))
    used = [settings.training.processes * settings.training.nodes]
    for stage in pipeline.stages:
        gpus = resources.stages[stage.name].gpus
        used.append(int(gpus) * (settings.rollout.shards if stage.sharded else 1) if gpus != "auto" else 1)
    return settings, max(used)


def _speed(settings: RunSettings, gpu: str | None, count: int, utilisation: float | None) -> Speed | None:
    """The GPUs; None where the model runs on the CPU."""
    if settings.model.device == "cpu":
        if gpu is not None:
            remedy = "add --set model.device=cuda, or leave --gpu away"
            raise SettingsError("the model runs on the CPU (model.device)", where="--gpu", remedy=remedy)
        return None
    known = settings.model.dtype == "bfloat16"
    return Speed(find_gpu(gpu or DEFAULT_GPU), count, utilisation, known=known)
