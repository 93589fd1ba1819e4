"""One stage of a plan: operations, GPU-hours and memory, from the work that it does and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.work import Work
from advantageflow_pipelines.plan.plans import StagePlan
from advantageflow_pipelines.plan.rewards import RewardCost
from advantageflow_pipelines.plan.timing import Speed

if TYPE_CHECKING:
    from advantageflow_pipelines.plan.counts import Operations
    from advantageflow_pipelines.plan.skeleton import Skeleton

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
    if work.encodes and not work.texts:
        return StagePlan(name, work, None, None, dict(memory), "its prompts cannot be counted yet")
    sampling, training = _model_flops(work, operations, recomputed)
    model = sampling + training
    scoring = work.scored * sum(one.flops or 0.0 for one in rewards.values())
    on_gpu = work.scored * sum(one.flops or 0.0 for one in rewards.values() if one.device == "cuda")
    note = "; ".join(f"{reward}: {_note(one)}" for reward, one in rewards.items()) if work.scored else ""
    if work.scored and not model + scoring:
        return StagePlan(name, work, None, None, dict(memory), note)
    hours = _hours(speed, sampling, training, on_gpu, work.tasks)
    return StagePlan(name, work, model + scoring, hours, dict(memory), note)


def stage_memory(
    settings: RunSettings, skeleton: Skeleton, work: Mapping[str, Work], rewards: Mapping[str, RewardCost]
) -> dict[str, dict[str, int]]:
    """Bytes on one GPU at the peak of each stage, by what they hold; of rewards the weights alone."""
    scorers = sum(_FLOAT32 * (one.parameters or 0) for one in rewards.values() if one.device == "cuda")
    weights = {"rewards' weights": scorers} if scorers else {}
    measured: dict[tuple[int, bool], dict[str, int]] = {}  # by batch, as two stages may have the same
    found = {}
    for stage, one in work.items():
        if one.batch is not None and one.batch not in measured:
            measured[one.batch] = _generating(settings, skeleton, *one.batch)
        found[stage] = {
            **(_encoding(skeleton, one.texts) if one.encodes else {}),
            **(measured[one.batch] if one.batch is not None else {}),
            **(_training(settings, skeleton) if one.backwards else {}),
            **(weights if one.scored else {}),
        }
    return found


def _encoding(skeleton: Skeleton, texts: int) -> dict[str, int]:
    """Of the largest encoder, as they run one after the other."""
    from advantageflow.policy.text import MOST_TEXTS
    from advantageflow_pipelines.plan.model_costs import encoding_memory

    encoders = encoding_memory(skeleton, texts or MOST_TEXTS)
    return dict(max(encoders.values(), key=lambda one: one.total).parts) if encoders else {}


def _generating(settings: RunSettings, skeleton: Skeleton, batch: int, guided: bool) -> dict[str, int]:
    from advantageflow_pipelines.plan.model_costs import generation_memory

    decoded = settings.model.decode_batch
    return dict(generation_memory(skeleton, settings.training, batch, guided, decoded).parts)


def _training(settings: RunSettings, skeleton: Skeleton) -> dict[str, int]:
    from advantageflow_pipelines.plan.model_costs import training_memory

    rollout = settings.rollout
    return dict(training_memory(skeleton, settings.training, rollout.prompts_per_round, rollout.group_size).parts)


def _note(reward: RewardCost) -> str:
    on_cpu = reward.device == "cpu" and reward.flops
    return f"{reward.note}; on the CPU, so without a time" if on_cpu else reward.note


def _model_flops(work: Work, operations: Operations, recomputed: bool) -> tuple[float, float]:
    """Of the model's parts without gradient, and of training samples."""
    velocity = operations.velocity
    sample = velocity.training + (velocity.forward if recomputed else 0.0)
    without = (
        work.forwards * velocity.forward
        + work.decodes * operations.decode
        + work.texts * sum(operations.encode.values())
    )
    return without, work.backwards * sample


def _hours(speed: Speed | None, sampling: float, training: float, rewards: float, tasks: int) -> float | None:
    """Of all; None where the model's are not known, or where there is nothing on the GPU."""
    if speed is None or not speed.known or sampling + training + rewards == 0:
        return None
    return speed.hours(sampling, training, rewards, tasks)
