"""Bytes of the artifacts that a run writes, and of those that a cluster copies into its tasks."""

from __future__ import annotations

from dataclasses import dataclass

from advantageflow.settings import RunSettings
from advantageflow_pipelines.local.costs import images_of_a_run
from advantageflow_pipelines.pipelines.online.schedule import evaluations

PNG_SHARE = 0.6  # of the raw pixels: photographs in PNG; drawings take less
_FLOAT32 = 4


@dataclass(frozen=True)
class Sizes:
    """What artifacts hold.

    Attributes:
        image_size: height and width, in pixels.
        latent: numbers in a latent.
        conditioning: bytes of a prompt's.
        adapter: parameters of one adapter.
    """

    image_size: int
    latent: int
    conditioning: int
    adapter: int


@dataclass(frozen=True)
class Prompts:
    """How many there are; all 0 where they cannot be read.

    Attributes:
        count: all of them.
        texts: that differ, the one which guidance leads away from included.
        held_out: to evaluate on.
    """

    count: int
    texts: int
    held_out: int


@dataclass(frozen=True)
class Artifact:
    """Artifacts of a kind.

    Attributes:
        kept: bytes that the run writes.
        moved: bytes that tasks get of them, all tasks together. Kubeflow copies an artifact whole into each task that
            takes it, even where the task reads a part; on one machine nothing is moved.
    """

    kept: int
    moved: int


def artifacts(settings: RunSettings, sizes: Sizes, prompts: Prompts) -> dict[str, Artifact]:
    """A run's artifacts by kind: those that stages write to the store; MLflow's copies of pictures are small.

    Args:
        settings: of the run.
        sizes: of what is stored.
        prompts: of the run, each with a conditioning of its own.
    """
    images, rounds, steps = images_of_a_run(settings), settings.rounds, settings.rollout.steps
    trajectory = _FLOAT32 * ((steps + 1) * sizes.latent + steps) if settings.rollout.trajectories else 0
    # Trained and rollout adapter and AdamW's two moments: each round is a checkpoint that a run continues from.
    policy = 4 * _FLOAT32 * sizes.adapter
    takers = (rounds - 1) * (settings.rollout.shards + 1) + sum(one.round_index > 0 for one in evaluations(settings))
    to_two = 2  # reward and training take a shard whole
    kept = {
        "rollout images (PNG)": round(images * PNG_SHARE * 3 * sizes.image_size**2),
        "rollout latents (float32)": images * _FLOAT32 * sizes.latent,
        "rollout trajectories (float32)": images * trajectory,
    }
    return {kind: Artifact(size, to_two * size) for kind, size in kept.items()} | {
        "conditioning": Artifact(prompts.count * sizes.conditioning, conditioning_moved(settings, sizes, prompts)),
        "policies and optimiser states (float32)": Artifact(rounds * policy, takers * policy),
    }


def conditioning_moved(settings: RunSettings, sizes: Sizes, prompts: Prompts) -> int:
    """Bytes of conditioning that tasks get: with a store the rows that they read, without one all in each task."""
    if not prompts.count:
        return 0
    judged = evaluations(settings)
    if settings.store.url is None:
        tasks = settings.rounds * (settings.rollout.shards + 1) + len(judged)
        return tasks * prompts.count * sizes.conditioning
    of_rounds = 2 * settings.rounds * settings.rollout.prompts_per_round  # rollout shards together, and training
    return (of_rounds + sum(min(one.images, prompts.held_out) for one in judged)) * sizes.conditioning
