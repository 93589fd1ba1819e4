"""Bytes of the artifacts that a run writes, and of those that a cluster copies into its tasks."""

from collections.abc import Collection
from dataclasses import dataclass

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import Work

PNG_SHARE = 0.6  # of the raw pixels: photographs in PNG; drawings take less
_FLOAT32 = 4


@dataclass(frozen=True)
class Sizes:
    """Pixels of an image's side, numbers in a latent, bytes of a prompt's conditioning, parameters of one adapter."""

    image_size: int
    latent: int
    conditioning: int
    adapter: int


@dataclass(frozen=True)
class Artifact:
    """Artifacts of a kind."""

    kept: int  # bytes that the run writes
    # bytes that tasks get of them, all tasks together. Kubeflow copies an artifact whole into each task that takes it,
    # even where the task reads a part; on one machine nothing is moved.
    moved: int


def artifacts(settings: RunSettings, sizes: Sizes, prompts: int, work: Collection[Work]) -> dict[str, Artifact]:
    """A run's artifacts by kind: those that stages write to the store; MLflow's copies of pictures are small.

    Each of `prompts` has a conditioning of its own; 0 where they are not known.
    """
    steps, stored = settings.rollout.steps, settings.store.url is not None
    noisy = settings.rollout.sde_window or steps
    trajectory = _FLOAT32 * ((noisy + 1) * sizes.latent + noisy) if settings.rollout.trajectories else 0
    adapter = _FLOAT32 * sizes.adapter
    images, policies = sum(one.kept for one in work), sum(one.policies for one in work)
    latents = sum(one.takes_latents for one in work)
    each = {  # bytes, how many are kept, how many tasks take
        "rollout images (PNG)": (
            round(PNG_SHARE * 3 * sizes.image_size**2),
            images,
            sum(one.takes_images for one in work),
        ),
        "rollout latents (float32)": (_FLOAT32 * sizes.latent, images, latents),
        "rollout trajectories (float32)": (trajectory, images, latents),
        "policies and optimiser states (float32)": (  # with a store there too
            policy_bytes(sizes),
            policies * (2 if stored else 1),
            sum(one.takes_policies for one in work),
        ),
        "adapters for rollouts and evaluations (float32)": (
            adapter,
            2 * policies,
            sum(one.takes_adapters for one in work),
        ),
    }
    return {kind: Artifact(kept * size, taken * size) for kind, (size, kept, taken) in each.items()} | {
        "conditioning": Artifact(prompts * sizes.conditioning, conditioning_moved(sizes, prompts, work, stored=stored))
    }


def policy_bytes(sizes: Sizes) -> int:
    """Of a policy: the trained adapter twice (PEFT, diffusers), the rollout adapter, AdamW's two moments."""
    return 5 * _FLOAT32 * sizes.adapter


def conditioning_moved(sizes: Sizes, prompts: int, work: Collection[Work], *, stored: bool) -> int:
    """Bytes of conditioning that tasks get: with a store the rows that they read, without one all in each task."""
    readers = [one for one in work if one.reads_prompts]
    rows = sum(one.reads_prompts for one in readers) if stored else prompts * sum(one.tasks for one in readers)
    return rows * sizes.conditioning if prompts else 0
