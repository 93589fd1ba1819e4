"""The rectified-flow path between data and noise, its velocity, and random training times on it."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

TimeSampling = Literal["uniform", "stratified", "logit_normal", "sampler"]
Samples = Float[Tensor, "batch *element"]
Times = Float[Tensor, " batch"]
Levels = Float[Tensor, " steps"]


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


def sample_times(
    count: int,
    sampling: TimeSampling,
    generator: torch.Generator,
    *,
    levels: Levels | None = None,
    fraction: float = 1.0,
    shift: float = 1.0,
) -> Times:
    """Times of `count` samples, float32 on the generator's device.

    'uniform' draws each t from U[0, 1). 'stratified' puts one sample into each of `count` equal intervals, in random
    order: each t is still U[0, 1), and the mean over the batch has less variance. 'logit_normal' draws
    `sigmoid(N(0, 1))`, which favours the middle (Stable Diffusion 3, arXiv 2403.03206, section 3.1). 'sampler' takes
    the noise levels at which the sampler evaluates the model, each as often as the others (up to 1), in random order.

    Args:
        levels: of 'sampler', from 1 down, without the 0 at the end.
        fraction: f in (0, 1]; of 'sampler', the first `floor(f steps)` levels; of others `1 - f (1 - t)`.
        shift: s > 0; then `s t / (1 + (s - 1) t)`, as a shifted sampler spends its steps. Not of 'sampler'.
    """
    device = generator.device
    if sampling == "logit_normal":
        t = torch.sigmoid(torch.randn(count, generator=generator, device=device))
    else:
        t = torch.rand(count, generator=generator, device=device)
    if sampling == "sampler":
        if levels is None:
            raise ValueError("the sampler's noise levels are not given")
        usable = usable_steps(len(levels), fraction)
        place = torch.randperm(count, generator=generator, device=device).double() + t[0].double()
        return levels.to(t)[(place * usable / count).long()]
    if sampling == "stratified":
        t = (torch.randperm(count, generator=generator, device=device) + t) / count
    if fraction < 1:
        t = 1 - fraction * (1 - t)
    return t if shift == 1 else shift * t / (1 + (shift - 1) * t)


def sample_intervals(times: Times, levels: Levels | None, generator: torch.Generator) -> Times:
    """Lengths h in [0, t] of the intervals that average velocities at these times are of.

    Args:
        levels: of the sampler, where the times are: h is the length of its step there. None: h is uniform in [0, t).
    """
    if levels is None:
        return times * torch.rand(len(times), generator=generator, device=generator.device).to(times)
    following = torch.cat([levels[1:], levels.new_zeros(1)])
    number = (times.cpu()[:, None] == levels.float()).int().argmax(1)
    return (levels - following)[number].to(times)


def usable_steps(steps: int, fraction: float) -> int:
    """`floor(fraction * steps)`, the steps of a sampler that are learned from, counted from the noise; at least 1.

    Flow-GRPO leaves out the last ones (fraction .99), whose deviation is so small that ratios leave the clip range at
    once.
    """
    return max(1, math.floor(fraction * steps + 1e-9))  # .29 * 100 is just below 29
