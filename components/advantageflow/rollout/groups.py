"""Groups of rollouts: one forward batch for a chunk of prompts, every image from its own seed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from advantageflow.errors import PolicyError
from advantageflow.records import Prompt, Rollout, derive_seed
from advantageflow.settings import RolloutSettings
from advantageflow.store.artifacts import Embeddings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from advantageflow.policy.generate import Generator


def generate_groups(
    generator: Generator,
    settings: RolloutSettings,
    prompts: Sequence[Prompt],
    rows: Sequence[int],
    embeddings: Embeddings,
    *,
    seed: int,
    round_index: int,
) -> tuple[list[Rollout], Tensor]:
    """A group of rollouts for each prompt, all in one forward batch.

    Args:
        generator: the rollout policy.
        settings: group size and sampling.
        prompts: the prompts of the chunk.
        rows: the row of each of them in `embeddings`.
        embeddings: text embeddings of all prompts.
        seed: the run's seed.
        round_index: the round.

    Returns:
        The rollouts, group after group, and their clean latents (len(rollouts), C, H, W).

    Raises:
        PolicyError: a latent is not finite: the policy has diverged.
    """
    size = settings.group_size
    places = [(prompt, index) for prompt in prompts for index in range(size)]
    repeated = [row for row in rows for _ in range(size)]
    seeds = [derive_seed(seed, round_index, prompt.prompt_id, index) for prompt, index in places]
    latents, images = generator.images(
        embeddings.prompt_embeds[repeated],
        embeddings.pooled[repeated],
        seeds,
        steps=settings.steps,
        sampler=settings.sampler,
        shift=settings.shift,
        guidance_scale=settings.guidance_scale,
        empty=(embeddings.empty_prompt_embeds, embeddings.empty_pooled),
    )
    rollouts = [
        Rollout(prompt.prompt_id, round_index, index, noise_seed, encode_png(image))
        for (prompt, index), noise_seed, image in zip(places, seeds, images, strict=True)
    ]
    for rollout, finite in zip(rollouts, latents.flatten(1).isfinite().all(1).tolist(), strict=True):
        if not finite:
            remedy = "the policy has diverged: raise training.lam or lower training.learning_rate"
            raise PolicyError("its latent is not finite", where=f"rollout {rollout.rollout_id}", remedy=remedy)
    return rollouts, latents


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of a uint8 image (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
