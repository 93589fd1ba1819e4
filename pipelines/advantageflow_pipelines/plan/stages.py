"""One stage of a plan: operations, GPU-hours and memory, from the work that it does and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from advantageflow.settings import RunSettings
from advantageflow_pipelines.plan.records import StagePlan
from advantageflow_pipelines.plan.rewards import RewardCost
from advantageflow_pipelines.plan.timing import Speed
from advantageflow_pipelines.plan.workload import Work

if TYPE_CHECKING:
    from advantageflow.bench.model_costs import Operations
    from advantageflow.bench.skeleton import Skeleton

_FLOAT32 = 4


def stage_plan(
    name: str,
    work: Work,
    operations: Operations,
    rewards: Mapping[str, RewardCost],
    memory: Mapping[str, int],
    speed: Speed | None,
    *,
    recomputed: bool,
) -> StagePlan:
    """What a stage takes.

    Args:
        name: of the stage.
        work: what it does.
        operations: what the model's parts cost.
        rewards: what each reward costs, by name.
        memory: bytes on the GPU by what they hold.
        speed: of the GPU; None gives no time.
        recomputed: whether training recomputes activations, which costs it a forward pass more.
    """
    if name == "prompts" and not work.texts:
        return StagePlan(name, work, None, None, dict(memory), "its prompts cannot be counted yet")
    model = _model_flops(work, operations, recomputed)
    scoring = work.scored * sum(one.flops or 0.0 for one in rewards.values())
    on_gpu = work.scored * sum(one.flops or 0.0 for one in rewards.values() if one.device == "cuda")
    note = "; ".join(f"{reward}: {_note(one)}" for reward, one in rewards.items()) if work.scored else ""
    if name == "reward" and not scoring:
        return StagePlan(name, work, None, None, dict(memory), note)
    return StagePlan(name, work, model + scoring, _hours(speed, model, on_gpu), dict(memory), note)


def stage_memory(
    settings: RunSettings, skeleton: Skeleton, texts: int, rewards: Mapping[str, RewardCost]
) -> dict[str, dict[str, int]]:
    """Bytes on one GPU at the peak of each stage, by what they hold; of rewards the weights alone."""
    from advantageflow.bench import model_costs as costs
    from advantageflow.policy.text import MOST_TEXTS

    rollout, training, evaluation = settings.rollout, settings.training, settings.evaluation
    scorers = sum(_FLOAT32 * (one.parameters or 0) for one in rewards.values() if one.device == "cuda")
    weights = {"rewards' weights": scorers} if scorers else {}
    encoders = costs.encoding_memory(skeleton, texts or MOST_TEXTS)
    largest = max(encoders.values(), key=lambda one: one.total).parts if encoders else {}
    trained = costs.training_memory(skeleton, training, rollout.prompts_per_round, rollout.group_size)
    batches = [
        (rollout.batch_groups * rollout.group_size, rollout.guidance_scale != 1.0),
        (evaluation.batch, evaluation.guidance_scale != 1.0),
    ]
    made = {batch: costs.generation_memory(skeleton, training, *batch) for batch in dict.fromkeys(batches)}
    rolled, judged = (made[batch] for batch in batches)
    return {
        "prompts": dict(largest),
        "rollout": dict(rolled.parts),
        "reward": weights,
        "training": dict(trained.parts),
        "evaluation": {**judged.parts, **weights},
    }


def _note(reward: RewardCost) -> str:
    on_cpu = reward.device == "cpu" and reward.flops
    return f"{reward.note}; on the CPU, so without a time" if on_cpu else reward.note


def _model_flops(work: Work, operations: Operations, recomputed: bool) -> float:
    velocity = operations.velocity
    sample = velocity.training + (velocity.forward if recomputed else 0.0)
    return (
        work.forwards * velocity.forward
        + work.backwards * sample
        + work.decodes * operations.decode
        + work.texts * sum(operations.encode.values())
    )


def _hours(speed: Speed | None, model: float, rewards: float) -> float | None:
    """Of both; None where the model's are not known, or where there is nothing on the GPU."""
    if speed is None or not speed.known or model + rewards == 0:
        return None
    return speed.hours(model) + speed.reward_hours(rewards)
