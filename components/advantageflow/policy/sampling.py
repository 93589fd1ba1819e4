"""From noise to clean latents: seeded noise and guided velocities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from advantageflow.policy.autoencoder import Latents, decode
from advantageflow.policy.families import STABLE_DIFFUSION_3, Family
from advantageflow.policy.velocity import predict_velocity
from advantageflow.records import derive_seed

__all__ = ["decode", "initial_noise", "step_noise", "velocity_function"]


def initial_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> Latents:
    """Standard normal noise (len(seeds), *shape), each sample from its own seed: the batch it is in does not matter."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def step_noise(seeds: Sequence[int], shape: tuple[int, int, int], device: str) -> Callable[[int], Latents]:
    """Standard normal noise of a step of stochastic sampling, by its number; from each sample's own seed too."""
    return lambda number: initial_noise([derive_seed(seed, "step", number) for seed in seeds], shape).to(device)


def velocity_function(
    transformer: nn.Module,
    prompt_embeds: Float[Tensor, "batch length width"],
    pooled: Float[Tensor, "batch pooled"],
    guidance_scale: float = 1.0,
    empty: tuple[Tensor, Tensor] | None = None,
    family: Family = STABLE_DIFFUSION_3,
) -> Callable[[Latents, float], Latents]:
    """v(x, sigma) of a batch of prompts; with guidance `v_empty + scale (v - v_empty)`.

    Args:
        transformer: of the family.
        prompt_embeds: text embeddings.
        pooled: pooled text embeddings.
        guidance_scale: classifier-free guidance; 1 is none and costs no second evaluation.
        empty: embeddings (1, length, width) and pooled (1, pooled) of the empty prompt, needed for guidance.
        family: of the model.
    """
    guided = guidance_scale != 1.0
    if guided:
        if empty is None:
            raise ValueError("guidance needs the empty prompt's embeddings")
        count = len(prompt_embeds)
        prompt_embeds = torch.cat([prompt_embeds, empty[0].expand(count, -1, -1).to(prompt_embeds)])
        pooled = torch.cat([pooled, empty[1].expand(count, -1).to(pooled)])
    dtype = next(transformer.parameters()).dtype
    prompt_embeds, pooled = prompt_embeds.to(dtype), pooled.to(dtype)

    def velocity(x: Latents, sigma: float) -> Latents:
        inputs = torch.cat([x, x]) if guided else x
        # float64, because the timesteps that the transformer is given are only rounded once.
        times = torch.full((len(inputs),), sigma, device=x.device, dtype=torch.float64)
        out = predict_velocity(transformer, inputs, times, prompt_embeds, pooled, family)
        if not guided:
            return out
        conditional, unconditional = out.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    return velocity
