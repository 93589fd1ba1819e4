"""The rectified-flow path between data and noise, its velocity, and random training times on it."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

TimeSampling = Literal["uniform", "stratified", "logit_normal"]
Samples = Float[Tensor, "batch *element"]
Times = Float[Tensor, " batch"]


def interpolate(x_0: Samples, noise: Samples, t: Times) -> Samples:
    """`x_t = (1 - t) x_0 + t eps`: data at t = 0, noise at t = 1.

    Args:
        x_0: clean samples.
        noise: eps ~ N(0, I), of the shape of x_0.
        t: time of each sample, in [0, 1].
    """
    t = t.reshape(-1, *[1] * (x_0.ndim - 1))
    return (1 - t) * x_0 + t * noise


def velocity_target(x_0: Samples, noise: Samples) -> Samples:
    """`v = d x_t / dt = eps - x_0`, the same at every t: what flow matching regresses on."""
    return noise - x_0


def sample_times(count: int, sampling: TimeSampling, generator: torch.Generator) -> Times:
    """Times of `count` samples, float32 on the generator's device.

    'uniform' draws each t from U[0, 1). 'stratified' puts one sample into each of `count` equal intervals, in random
    order: each t is still U[0, 1), and the mean over the batch has less variance. 'logit_normal' draws
    `sigmoid(N(0, 1))`, which favours the middle (Stable Diffusion 3, arXiv 2403.03206, section 3.1).
    """
    device = generator.device
    if sampling == "logit_normal":
        return torch.sigmoid(torch.randn(count, generator=generator, device=device))
    uniform = torch.rand(count, generator=generator, device=device)
    if sampling == "uniform":
        return uniform
    stratum = torch.randperm(count, generator=generator, device=device)
    return (stratum + uniform) / count
