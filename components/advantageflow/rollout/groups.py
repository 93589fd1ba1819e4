"""Groups of rollouts: one forward batch for a chunk of prompts, every image from its own seed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.divergence import check_finite
from advantageflow.records import Prompt, Rollout, derive_seed
from advantageflow.settings import ModelSettings, RolloutSettings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from advantageflow.flow.sde import Trajectory
    from advantageflow.policy.generate import Generator


class Groups(NamedTuple):
    """Rollouts, group after group.

    Attributes:
        images: each (H, W, 3), uint8.
        latents: their clean latents (len(rollouts), *shape).
        trajectories: how they were sampled, where the settings ask for it.
    """

    rollouts: list[Rollout]
    images: list[np.ndarray]
    latents: Tensor
    trajectories: Trajectory | None


def generate_groups(
    generator: Generator,
    settings: RolloutSettings,
    prompts: Sequence[Prompt],
    conditioning: Conditioning,
    unconditional: Conditioning | None,
    *,
    seed: int,
    round_index: int,
    rounds_before: int = 0,
) -> Groups:
    """A group of rollouts for each prompt, all in one forward batch.

    Args:
        generator: the rollout policy.
        settings: group size and sampling.
        prompts: the prompts of the chunk.
        conditioning: a row for each of them.
        unconditional: of the family's unconditional text, needed for guidance.
        seed: the run's seed.
        round_index: the round.
        rounds_before: of the runs that this one continues, whose noise is not drawn again.

    Raises:
        PolicyError: a latent is not finite: the policy has diverged.
    """
    size = settings.group_size
    members = [(prompt, index) for prompt in prompts for index in range(size)]
    repeated = conditioning.rows([row for row in range(len(prompts)) for _ in range(size)])
    seeds = [derive_seed(seed, rounds_before + round_index, prompt.prompt_id, index) for prompt, index in members]
    latents, images, trajectories = _sample(generator, settings, repeated, unconditional, seeds)
    rollouts = [
        Rollout(prompt.prompt_id, round_index, index, noise_seed)
        for (prompt, index), noise_seed in zip(members, seeds, strict=True)
    ]
    check_finite(latents, [f"rollout {rollout.rollout_id}" for rollout in rollouts])
    return Groups(rollouts, list(images), latents, trajectories)


def _sample(
    generator: Generator,
    settings: RolloutSettings,
    conditioning: Conditioning,
    unconditional: Conditioning | None,
    seeds: Sequence[int],
) -> tuple[Tensor, np.ndarray, Trajectory | None]:
    """Clean latents, images and, if asked for, trajectories, by the sampler of the settings."""
    common: dict[str, Any] = {
        "steps": settings.steps, "shift": settings.shift, "guidance_scale": settings.guidance_scale,
        "unconditional": unconditional,
    }  # fmt: skip
    if settings.sampler == "sde":
        return generator.sde_images(
            conditioning, seeds, noise_level=settings.noise_level, keep_trajectory=settings.trajectories, **common
        )
    return *generator.images(conditioning, seeds, sampler=settings.sampler, **common), None


def join(parts: Sequence[Groups]) -> Groups:
    """All groups of the parts, of which there is one at least."""
    import torch

    from advantageflow.flow.sde import concatenate

    trajectories = [part.trajectories for part in parts if part.trajectories is not None]
    return Groups(
        [rollout for part in parts for rollout in part.rollouts],
        [image for part in parts for image in part.images],
        torch.cat([part.latents for part in parts]),
        concatenate(trajectories) if trajectories else None,
    )


def no_groups(settings: RolloutSettings, model: ModelSettings) -> Groups:
    """What a shard without prompts makes: tensors of the right shapes, without rows."""
    import torch

    from advantageflow.flow.samplers import timesteps
    from advantageflow.flow.sde import Trajectory
    from advantageflow.policy.loading import latent_shape

    shape, sigmas = latent_shape(model), timesteps(settings.steps, settings.shift)
    trajectories = Trajectory(
        torch.zeros(0, len(sigmas), *shape), torch.zeros(0, settings.steps), sigmas, settings.noise_level
    )
    return Groups([], [], torch.zeros(0, *shape), trajectories if settings.trajectories else None)


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of a uint8 image (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
