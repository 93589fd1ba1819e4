"""Bytes of the artifacts that a run writes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.work import Work

PNG_SHARE = 0.6  # of the raw pixels: photographs in PNG; drawings take less
_FLOAT32 = 4


@dataclass(frozen=True)
class Sizes:
    """What artifacts hold.

    Attributes:
        image_size: height and width, in pixels.
        latent: numbers in a latent.
        text: bytes of a prompt's embeddings, pooled ones included.
        adapter: parameters of one adapter.
    """

    image_size: int
    latent: int
    text: int
    adapter: int


def artifact_bytes(settings: RunSettings, sizes: Sizes, texts: int, work: Collection[Work]) -> dict[str, int]:
    """Bytes of a run's artifacts by kind: those that stages write to the store; MLflow's copies of pictures are small.

    Args:
        settings: of the run.
        sizes: of what is stored.
        texts: prompts, which have embeddings of their own; 0 where they are not known.
        work: of the run's stages.
    """
    images, steps = sum(one.kept for one in work), settings.rollout.steps
    trajectory = _FLOAT32 * ((steps + 1) * sizes.latent + steps) if settings.rollout.trajectories else 0
    return {
        "rollout images (PNG)": round(images * PNG_SHARE * 3 * sizes.image_size**2),
        "rollout latents (float32)": images * _FLOAT32 * sizes.latent,
        "rollout trajectories (float32)": images * trajectory,
        "text embeddings": texts * sizes.text,
        # Trained adapter twice (PEFT, diffusers), rollout adapter, AdamW's two moments: any round can be continued.
        "policies and optimiser states (float32)": sum(one.policies for one in work) * 5 * _FLOAT32 * sizes.adapter,
    }
