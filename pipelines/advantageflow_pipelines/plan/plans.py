"""What a plan holds: the stages of a run with what each takes, and the run as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from advantageflow_pipelines.client.fit import OnKubeflow
from advantageflow_pipelines.pipelines.work import Work
from advantageflow_pipelines.plan.counts import Operations
from advantageflow_pipelines.plan.critical_path import CriticalPath
from advantageflow_pipelines.plan.rewards import RewardCost
from advantageflow_pipelines.plan.speed import Speed
from advantageflow_pipelines.plan.storage import Artifact
from advantageflow_pipelines.plan.weights import Weights


@dataclass(frozen=True)
class StagePlan:
    """What one stage of a run will take, all its tasks together.

    Attributes:
        flops: operations; None where they are not known.
        gpu_hours: at the assumed speed; None where nothing is known of it.
        memory: bytes on one GPU at its peak, by what they hold; empty where it uses none or it is not known.
        note: what the figures leave out.
    """

    stage: str
    work: Work
    flops: float | None
    gpu_hours: float | None
    memory: dict[str, int]
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run will cost.

    Attributes:
        model: its name, where its sizes come from, parameters by part.
        speed: the GPU, and what is assumed of it; None where the model runs on the CPU.
        stages: in order.
        gpu_hours: of all stages that are known; None on the CPU.
        gpu_price: of one of them, in any currency; None where the settings do not say.
        wall_hours: on that many GPUs, without waiting for machines, loading and scheduling.
        kubeflow: segments, nodes and bytes of the run there; None where it cannot be said.
        kubeflow_seconds: that Kubeflow itself takes, in line.
        path: the critical path on a cluster; None where it is not known.
        storage: artifacts by kind.
        weights: what has to be there.
        chain: what the published budget costs in runs like this one; None where there is none.
        pitfalls: what will go wrong, each with a remedy.
        assumptions: what the estimates rest on.
    """

    preset: str
    model: dict[str, Any]
    speed: Speed | None
    stages: list[StagePlan]
    gpu_hours: float | None
    gpu_price: float | None
    wall_hours: float | None
    kubeflow: OnKubeflow | None
    kubeflow_seconds: float
    path: CriticalPath | None
    storage: dict[str, Artifact]
    weights: list[Weights]
    chain: dict[str, Any] | None
    pitfalls: list[str]
    assumptions: list[str]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


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
    """What a stage takes; no `speed` gives no time, and activations that are `recomputed` cost a forward pass more."""
    if work.encodes and not work.texts:
        return StagePlan(name, work, None, None, dict(memory), "its prompts cannot be counted yet")
    velocity = operations.velocity
    sampling = (
        work.forwards * velocity.forward
        + work.decodes * operations.decode
        + work.texts * sum(operations.encode.values())
    )
    training = work.backwards * (velocity.training + (velocity.forward if recomputed else 0.0))
    model = sampling + training
    scoring = work.scored * sum(one.flops or 0.0 for one in rewards.values())
    on_gpu = work.scored * sum(one.flops or 0.0 for one in rewards.values() if one.device == "cuda")
    note = "; ".join(f"{reward}: {_note(one)}" for reward, one in rewards.items()) if work.scored else ""
    if work.scored and not model + scoring:
        return StagePlan(name, work, None, None, dict(memory), note)
    known = speed is not None and speed.known and model + on_gpu > 0
    hours = speed.hours(sampling, training, on_gpu, work.tasks) if speed is not None and known else None
    return StagePlan(name, work, model + scoring, hours, dict(memory), note)


def _note(reward: RewardCost) -> str:
    on_cpu = reward.device == "cpu" and reward.flops
    return f"{reward.note}; on the CPU, so without a time" if on_cpu else reward.note
