"""The plan of a run: its stages, storage and weights put together, and what will go wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from advantageflow.errors import UserError
from advantageflow.policy.configs import find_configs
from advantageflow.prompts.sources import load_prompts, select_held_out
from advantageflow.rollout.selection import prompts_by_task
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import Work
from advantageflow_pipelines.placing.cluster import OnKubeflow, on_kubeflow
from advantageflow_pipelines.plan.counts import Counts, ModelCounts, counts_of, kept_counts
from advantageflow_pipelines.plan.critical_path import CriticalPath, critical_path
from advantageflow_pipelines.plan.speed import Speed
from advantageflow_pipelines.plan.storage import PNG_SHARE, Artifact, Sizes, artifacts, conditioning_moved, policy_bytes
from advantageflow_pipelines.plan.weights import RewardCost, Weights, needed_weights


@dataclass(frozen=True)
class StagePlan:
    """What one stage of a run will take, all its tasks together."""

    stage: str
    work: Work
    flops: float | None  # operations; None where they are not known
    gpu_hours: float | None  # at the assumed speed; None where nothing is known of it
    # bytes on one GPU at its peak, by what they hold; empty where it uses none or it is not known
    memory: dict[str, int]
    note: str = ""  # what the figures leave out


@dataclass(frozen=True)
class Plan:
    """What a run will cost."""

    preset: str
    model: dict[str, Any]  # its name, where its sizes come from, parameters by part
    speed: Speed | None  # the GPU, and what is assumed of it; None where the model runs on the CPU
    stages: list[StagePlan]  # in order
    gpu_hours: float | None  # of all stages that are known; None on the CPU
    gpu_price: float | None  # of one of them, in any currency; None where the settings do not say
    kubeflow: OnKubeflow | None  # segments, nodes and bytes of the run there; None where it cannot be said
    path: CriticalPath  # the critical path on a cluster; of the hours that are known
    storage: dict[str, Artifact]  # artifacts by kind
    weights: list[Weights]  # what has to be there
    pitfalls: list[str]  # what will go wrong, each with a remedy
    assumptions: list[str]  # what the estimates rest on

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def stage_plan(
    name: str, work: Work, counts: Counts, memory: dict[str, int], speed: Speed | None, *, recomputed: bool
) -> StagePlan:
    """What a stage takes; no `speed` gives no time, and activations that are `recomputed` cost a forward pass more."""
    if work.encodes and not work.texts:
        return StagePlan(name, work, None, None, memory, "its prompts cannot be counted yet")
    one, rewards = counts.one, counts.rewards
    sampling = work.forwards * one.forward + work.decodes * one.decode + work.texts * sum(counts.model.encode.values())
    training = work.backwards * (one.training + (one.forward if recomputed else 0.0))
    scoring = work.scored * sum(reward.flops or 0.0 for reward in rewards.values())
    on_gpu = work.scored * sum(reward.flops or 0.0 for reward in rewards.values() if reward.device == "cuda")
    note = "; ".join(f"{name}: {_note(reward)}" for name, reward in rewards.items()) if work.scored else ""
    flops, hours = sampling + training + scoring, None
    if speed is not None and speed.known and sampling + training + on_gpu > 0:
        hours = speed.hours(sampling, training, on_gpu, work.tasks)
    return StagePlan(name, work, None if work.scored and not flops else flops, hours, memory, note)


def _note(reward: RewardCost) -> str:
    on_cpu = reward.device == "cpu" and reward.flops
    return f"{reward.note}; on the CPU, so without a time" if on_cpu else reward.note


CONTEXT = 10**9  # CUDA's context and cuBLAS's workspaces
FRAGMENTS = 0.05  # share that the allocator cannot use
LARGE_MOVES = 60 * 10**9  # of conditioning, over all tasks
_GIGA = 1e9


def make_plan(settings: RunSettings, speed: Speed | None, resources: str | None = None) -> Plan:
    """Work out what a run will cost; computes nothing of it and downloads nothing.

    Args:
        speed: the GPUs and what they reach; None, where the model runs on the CPU, gives no time.
        resources: that it would get of a cluster; those that suit it if None.

    Raises:
        PolicyError: the model's configuration is not here, or is of a family that is not supported.
        DataError: there are fewer prompts than a round takes.
    """
    prompts, texts, unreadable = count_prompts(settings)
    configs, origin = find_configs(settings.model)
    work = pipeline_of(settings).work(settings, texts)
    counts = _counts(settings, configs)
    memory = counts.memory(settings, work)
    on_cpu = [name for name, one in counts.rewards.items() if one.device == "cpu" and one.parameters]
    recomputed = settings.training.gradient_checkpointing
    stages = [stage_plan(name, one, counts, memory[name], speed, recomputed=recomputed) for name, one in work.items()]
    by_stage = {one.stage: one.gpu_hours for one in stages}
    known = [one.gpu_hours for one in stages if one.gpu_hours is not None]
    kubeflow, too_large = on_kubeflow(settings, resources)
    sizes = Sizes(counts.image_size, counts.latent, counts.model.conditioning, counts.parameters["adapter"])
    stored = artifacts(settings, sizes, prompts, work.values())
    at_once = speed.count if speed else 1, policy_bytes(sizes), kubeflow.segments if kubeflow else 1
    least = conditioning_moved(sizes, prompts, work.values(), stored=True)
    return Plan(
        preset=settings.preset,
        model={
            "name": settings.model.name,
            "sizes_from": origin,
            "parameters": counts.parameters,
            "image_size": counts.image_size,
            "text_tokens": counts.model.text_tokens,
            "dtype": settings.model.dtype,
            "texts": texts or None,
        },
        speed=speed,
        stages=stages,
        gpu_hours=sum(known) if speed is not None and speed.known else None,
        gpu_price=settings.tracking.gpu_price,
        kubeflow=kubeflow,
        path=critical_path(settings, by_stage, *at_once),
        storage=stored,
        weights=needed_weights(settings.model, counts.model.parts, settings.reward),
        pitfalls=[*find_pitfalls(work, memory, speed, stored["conditioning"], least, unreadable, on_cpu), *too_large],
        assumptions=_assumptions(speed),
    )


def gpu_memory(settings: RunSettings) -> dict[str, int]:
    """Bytes that a GPU must have for each stage, without the rest of a plan.
    Raises PolicyError: the model's configuration is not here, or is of a family that is not supported.
    """
    work = pipeline_of(settings).work(settings, count_prompts(settings)[1])
    counts = _counts(settings, find_configs(settings.model)[0])
    return {stage: needed_memory(parts) for stage, parts in counts.memory(settings, work).items()}


def _counts(settings: RunSettings, configs: Path) -> Counts:
    def count() -> ModelCounts:
        from advantageflow_pipelines.plan.model_costs import count_run  # imports torch and diffusers

        return count_run(settings)

    return counts_of(settings, kept_counts(settings, configs, count))


def count_prompts(settings: RunSettings) -> tuple[int, int, str]:
    """Prompts, distinct texts (the one that guidance leads away from included), and why they cannot be read; 0 then."""
    asked = settings.prompts
    try:
        known = load_prompts(
            asked.source, count=asked.count, seed=asked.seed, columns=asked.columns.renamed, warn=lambda message: None
        )
        prompts = select_held_out(known, asked.eval_prompts)
    except UserError as error:
        return 0, 0, str(error).partition("\n")[0]
    prompts_by_task([prompt for prompt in prompts if prompt.split == "train"], settings.rollout.prompts_per_round)
    return len(prompts), len({prompt.text for prompt in prompts} | {""}), ""


def _assumptions(speed: Speed | None) -> list[str]:
    """What a reader must know to judge the figures."""
    counted = [
        "operations are those of matrix products and convolutions; memory is what tensors take, without libraries; "
        "both are counted on the model's true shape, with blocks that are not compiled",
        f"PNG images are taken to be {PNG_SHARE:g} of their raw size; text encoders to run one after the other",
    ]
    if speed is None:
        return [*counted, "no time: how fast this machine's CPU is was not measured; `advantageflow bench` does"]
    return [*counted, *speed.assumptions()]


def needed_memory(parts: Mapping[str, int]) -> int:
    """Bytes that a GPU must have for a stage that allocates these."""
    return round(sum(parts.values()) * (1 + FRAGMENTS)) + CONTEXT if parts else 0


def find_pitfalls(
    work: Mapping[str, Work],
    memory: Mapping[str, Mapping[str, int]],
    speed: Speed | None,
    conditioning: Artifact,
    with_store: int,
    unreadable: str,
    on_cpu: Sequence[str] = (),
) -> list[str]:
    """What will go wrong, each with its remedy.

    Args:
        memory: bytes on the GPU, by stage and by what they hold.
        speed: the GPU; None where the model runs on the CPU.
        with_store: bytes of it that would be moved with a store.
        unreadable: why the prompts could not be counted; empty if they were.
        on_cpu: rewards with networks that compute on the CPU.
    """
    left_out = "the prompts cannot be read, so encoding and storing them is left out of this plan"
    found = [f"{left_out}: {unreadable}"] if unreadable else []
    for stage, parts in memory.items():
        if speed is not None and (need := needed_memory(parts)) > speed.gpu.memory:
            has = f"{speed.gpu.title} has {speed.gpu.memory / _GIGA:.0f}"
            found.append(f"{stage} needs about {need / _GIGA:.1f} GB and {has}: {work[stage].remedy}")
    if speed is not None and on_cpu:
        found.append(f"the networks of {', '.join(on_cpu)} compute on the CPU, slowly: set the option device to cuda")
    if conditioning.moved > max(LARGE_MOVES, with_store):
        found.append(
            f"on a cluster the prompts' conditioning, {conditioning.kept / _GIGA:,.1f} GB, is copied whole into every "
            f"rollout, training and evaluation task, {conditioning.moved / _GIGA:,.0f} GB in all: set store.url, and "
            f"tasks read the rows that they need, {with_store / _GIGA:,.1f} GB"
        )
    return found
