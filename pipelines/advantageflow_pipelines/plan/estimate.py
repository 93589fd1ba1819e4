"""The plan of a run: its stages, storage, weights, and what to look out for, put together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from advantageflow.errors import UserError
from advantageflow.policy.configs import ModelConfigs, model_configs
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.plan.chain import chain
from advantageflow_pipelines.plan.kubeflow import on_kubeflow
from advantageflow_pipelines.plan.pitfalls import find_pitfalls
from advantageflow_pipelines.plan.plans import Plan
from advantageflow_pipelines.plan.rewards import reward_cost
from advantageflow_pipelines.plan.stages import stage_memory, stage_plan
from advantageflow_pipelines.plan.storage import PNG_SHARE, Sizes, artifacts, conditioning_moved
from advantageflow_pipelines.plan.timing import Speed, hours
from advantageflow_pipelines.plan.weights import needed_weights

if TYPE_CHECKING:
    from advantageflow_pipelines.plan.skeleton import Skeleton


def make_plan(settings: RunSettings, speed: Speed | None, progress: Callable[[str], None] = lambda text: None) -> Plan:
    """Work out what a run will cost; computes nothing of it and downloads nothing.

    Args:
        settings: of the run.
        speed: the GPUs and what they reach; None, where the model runs on the CPU, gives no time.
        progress: told what is being counted.

    Raises:
        PolicyError: the model's configuration is not here, or is of a family that is not supported.
    """
    from advantageflow_pipelines.plan.model_costs import count_operations, count_parameters
    from advantageflow_pipelines.plan.skeleton import make_skeleton

    progress("prompts")
    prompts, texts, unreadable = _count_prompts(settings)
    configs = model_configs(settings.model)
    skeleton = make_skeleton(settings.model, configs)
    progress("parameters")
    parameters = count_parameters(skeleton, settings.training)
    progress("operations of the model")
    operations = count_operations(skeleton, settings.training)
    progress("operations of the rewards")
    rewards = {term.name: reward_cost(term) for term in settings.reward.terms}
    progress("memory")
    work = pipeline_of(settings).work(settings, texts)
    memory = stage_memory(settings, skeleton, work, rewards)
    on_cpu = [name for name, one in rewards.items() if one.device == "cpu" and one.parameters]
    recomputed = settings.training.gradient_checkpointing
    stages = [
        stage_plan(name, one, operations, rewards, memory[name], speed, recomputed=recomputed)
        for name, one in work.items()
    ]
    total, wall = hours({one.stage: one.gpu_hours for one in stages}, settings, speed)
    progress("nodes on Kubeflow")
    kubeflow, too_large = on_kubeflow(settings)
    sizes = _sizes(skeleton, parameters["adapter"])
    stored = artifacts(settings, sizes, prompts, work.values())
    least = conditioning_moved(sizes, prompts, work.values(), stored=True)
    return Plan(
        preset=settings.preset,
        model=_model(settings, configs, skeleton, parameters, texts),
        speed=speed,
        stages=stages,
        gpu_hours=total,
        wall_hours=wall,
        kubeflow=kubeflow,
        storage=stored,
        weights=needed_weights(settings.model, configs, settings.reward),
        chain=chain(settings, total, sum(one.kept for one in stored.values())),
        pitfalls=[
            *find_pitfalls(work, memory, speed, stored["conditioning"], least, unreadable, on_cpu),
            *too_large,
        ],
        assumptions=_assumptions(speed),
    )


def _count_prompts(settings: RunSettings) -> tuple[int, int, str]:
    """Prompts, distinct texts (the one that guidance leads away from included), and why they cannot be read; 0 then."""
    from advantageflow.prompts.sources import load_prompts, select_held_out

    asked = settings.prompts
    try:
        known = load_prompts(
            asked.source, count=asked.count, seed=asked.seed, columns=asked.columns.renamed, warn=lambda message: None
        )
        prompts = select_held_out(known, asked.eval_prompts)
    except UserError as error:
        return 0, 0, str(error).partition("\n")[0]
    return len(prompts), len({prompt.text for prompt in prompts} | {""}), ""


def _model(
    settings: RunSettings, configs: ModelConfigs, skeleton: Skeleton, parameters: dict[str, int], texts: int
) -> dict[str, Any]:
    return {
        "name": settings.model.name,
        "sizes_from": configs.origin,
        "parameters": parameters,
        "image_size": skeleton.image_size,
        "text_tokens": skeleton.conditioning.length,
        "dtype": settings.model.dtype,
        "texts": texts or None,
    }


def _sizes(skeleton: Skeleton, adapter: int) -> Sizes:
    return Sizes(skeleton.image_size, math.prod(skeleton.latents), skeleton.conditioning.nbytes, adapter)


def _assumptions(speed: Speed | None) -> list[str]:
    """What a reader must know to judge the figures."""
    counted = [
        "operations are those of matrix products and convolutions; memory is what tensors take, without libraries; "
        "both are counted on the model's true shape, and neither has been measured on a GPU",
        f"PNG images are taken to be {PNG_SHARE:g} of their raw size; text encoders to run one after the other",
    ]
    if speed is None:
        return [*counted, "no time: how fast this machine's CPU is was not measured; `advantageflow bench` does"]
    return [*counted, *speed.assumptions()]
