"""What will go wrong in a planned run: stages that do not fit the GPU, prompts that cannot be read, files too large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advantageflow_pipelines.pipelines.work import Work
from advantageflow_pipelines.plan.storage import Artifact
from advantageflow_pipelines.plan.timing import Speed

CONTEXT = 10**9  # CUDA's context and cuBLAS's workspaces
FRAGMENTS = 0.05  # share that the allocator cannot use
LARGE_MOVES = 60 * 10**9  # of conditioning, over all tasks
_GIGA = 1e9


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
    """Each with its remedy.

    Args:
        work: of the run by stage.
        memory: bytes on the GPU, by stage and by what they hold.
        speed: the GPU; None where the model runs on the CPU.
        conditioning: what conditions the model.
        with_store: bytes of it that would be moved with a store.
        unreadable: why the prompts could not be counted; empty if they were.
        on_cpu: rewards with networks that compute on the CPU.
    """
    left_out = "the prompts cannot be read, so encoding and storing them is left out of this plan"
    found = [f"{left_out}: {unreadable}"] if unreadable else []
    if speed is not None:
        found += [_too_large(stage, parts, speed, work[stage].remedy) for stage, parts in memory.items()
                  if needed_memory(parts) > speed.gpu.memory]  # fmt: skip
    if speed is not None and on_cpu:
        found.append(f"the networks of {', '.join(on_cpu)} compute on the CPU, slowly: set the option device to cuda")
    if conditioning.moved > max(LARGE_MOVES, with_store):
        found.append(
            f"on a cluster the prompts' conditioning, {conditioning.kept / _GIGA:,.1f} GB, is copied whole into every "
            f"rollout, training and evaluation task, {conditioning.moved / _GIGA:,.0f} GB in all: set store.url, and "
            f"tasks read the rows that they need, {with_store / _GIGA:,.1f} GB"
        )
    return found


def _too_large(stage: str, parts: Mapping[str, int], speed: Speed, remedy: str) -> str:
    need, room = needed_memory(parts) / _GIGA, speed.gpu.memory / _GIGA
    return f"{stage} needs about {need:.1f} GB and {speed.gpu.title} has {room:.0f}: {remedy}"
