"""The plan of a run: its stages, storage, weights, and what to look out for, put together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from advantageflow.errors import UserError
from advantageflow.policy.configs import ModelConfigs, model_configs
from advantageflow.settings import RunSettings, StoreSettings
from advantageflow_pipelines.plan.chain import chain
from advantageflow_pipelines.plan.pitfalls import find_pitfalls
from advantageflow_pipelines.plan.records import Plan
from advantageflow_pipelines.plan.rewards import reward_cost
from advantageflow_pipelines.plan.stages import stage_memory, stage_plan
from advantageflow_pipelines.plan.storage import PNG_SHARE, Prompts, Sizes, artifacts, conditioning_moved
from advantageflow_pipelines.plan.timing import Speed, hours
from advantageflow_pipelines.plan.weights import needed_weights
from advantageflow_pipelines.plan.workload import run_work

if TYPE_CHECKING:
    from advantageflow.bench.skeleton import Skeleton


def make_plan(settings: RunSettings, speed: Speed | None, progress: Callable[[str], None] = lambda text: None) -> Plan:
    """Work out what a run will cost; computes nothing of it and downloads nothing.

    Args:
        settings: of the run.
        speed: the GPUs and what they reach; None, where the model runs on the CPU, gives no time.
        progress: told what is being counted.

    Raises:
        PolicyError: the model's configuration is not here, or is of a family that is not supported.
    """
    from advantageflow.bench.model_costs import count_operations, count_parameters
    from advantageflow.bench.skeleton import make_skeleton

    progress("prompts")
    prompts, unreadable = _count_prompts(settings)
    configs = model_configs(settings.model)
    skeleton = make_skeleton(settings.model, configs)
    progress("parameters")
    parameters = count_parameters(skeleton, settings.training)
    progress("operations of the model")
    operations = count_operations(skeleton, settings.training)
    progress("operations of the rewards")
    rewards = {term.name: reward_cost(term) for term in settings.reward.terms}
    progress("memory")
    memory = stage_memory(settings, skeleton, prompts.texts, rewards)
    on_cpu = [name for name, one in rewards.items() if one.device == "cpu" and one.parameters]
    recomputed = settings.training.gradient_checkpointing
    stages = [
        stage_plan(name, work, operations, rewards, memory[name], speed, recomputed=recomputed)
        for name, work in run_work(settings, prompts.texts).items()
    ]
    total, wall = hours({one.stage: one.gpu_hours for one in stages}, settings, speed)
    sizes = _sizes(skeleton, parameters["adapter"])
    stored = artifacts(settings, sizes, prompts)
    with_store = conditioning_moved(
        settings.model_copy(update={"store": StoreSettings(url="s3://any")}), sizes, prompts
    )
    return Plan(
        preset=settings.preset,
        model=_model(settings, configs, skeleton, parameters, prompts.texts),
        speed=speed,
        stages=stages,
        gpu_hours=total,
        wall_hours=wall,
        storage=stored,
        weights=needed_weights(settings.model, configs, settings.reward),
        chain=chain(settings, total, sum(one.kept for one in stored.values())),
        pitfalls=find_pitfalls(settings, memory, speed, stored["conditioning"], with_store, unreadable, on_cpu),
        assumptions=_assumptions(speed),
    )


def _count_prompts(settings: RunSettings) -> tuple[Prompts, str]:
    """How many prompts there are, and why they cannot be read; none then."""
    from advantageflow.prompts.sources import load_prompts, select_held_out

    generated = settings.prompts.model_dump(include={"count", "seed"})  # of sources that generate their prompts
    try:
        known = load_prompts(settings.prompts.source, **generated)
        prompts = select_held_out(known, settings.prompts.eval_prompts)
    except UserError as error:
        return Prompts(0, 0, 0), str(error).partition("\n")[0]
    held_out = sum(prompt.split == "eval" for prompt in prompts)
    return Prompts(len(prompts), len({prompt.text for prompt in prompts} | {""}), held_out), ""


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
