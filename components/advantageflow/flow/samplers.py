"""ODE solvers that carry noise (sigma = 1) to data (sigma = 0) along a velocity field."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Sampler = Literal["euler", "heun", "ab2"]
Samples = Float[Tensor, "batch *element"]
Sigmas = Float[Tensor, " steps_plus_1"]
VelocityFn = Callable[[Samples, float], Samples]


def timesteps(steps: int, shift: float = 1.0) -> Sigmas:
    """Noise levels from 1 to 0, both included: `sigma' = s sigma / (1 + (s - 1) sigma)` of an even grid.

    Args:
        steps: model evaluations per sample, at least 1.
        shift: s > 0; above 1 spends more of the steps near the noise (Stable Diffusion 3, arXiv 2403.03206, eq. 23).

    Returns:
        float64 on the CPU, strictly falling.
    """
    sigmas = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    # Written so that sigma = 1 stays exactly 1.
    return shift * sigmas / ((1 - sigmas) + shift * sigmas)


def integrate(velocity_fn: VelocityFn, noise: Samples, sigmas: Sigmas, sampler: Sampler) -> Samples:
    """Solves `dx / dsigma = v(x, sigma)` from sigmas[0] to sigmas[-1] with len(sigmas) - 1 velocity evaluations.

    Args:
        velocity_fn: velocity (batch, *element) of (x, sigma as a float), for the whole batch.
        noise: x at sigmas[0].
        sigmas: from `timesteps`.
        sampler: 'euler', order 1. 'ab2', order 2: Adams-Bashforth with uneven steps, the first of them Euler.
            'heun', order 2: a step spans two intervals and costs two evaluations, so it makes half as many steps;
            an interval left over is an Euler step.
    """
    return _SAMPLERS[sampler](velocity_fn, noise, sigmas.tolist())


def _euler(velocity_fn: VelocityFn, x: Samples, sigmas: Sequence[float]) -> Samples:
    for sigma, following in pairwise(sigmas):
        x = x + (following - sigma) * velocity_fn(x, sigma)
    return x


def _heun(velocity_fn: VelocityFn, x: Samples, sigmas: Sequence[float]) -> Samples:
    paired = (len(sigmas) - 1) // 2 * 2
    for start in range(0, paired, 2):
        sigma, following = sigmas[start], sigmas[start + 2]
        step = following - sigma
        slope = velocity_fn(x, sigma)
        x = x + step / 2 * (slope + velocity_fn(x + step * slope, following))
    return _euler(velocity_fn, x, sigmas[paired:])


def _ab2(velocity_fn: VelocityFn, x: Samples, sigmas: Sequence[float]) -> Samples:
    previous, previous_step = None, 0.0
    for sigma, following in pairwise(sigmas):
        step, velocity = following - sigma, velocity_fn(x, sigma)
        if previous is None:
            x = x + step * velocity
        else:
            # The line through the last two velocities, integrated over this step.
            half_ratio = step / (2 * previous_step)
            x = x + step * ((1 + half_ratio) * velocity - half_ratio * previous)
        previous, previous_step = velocity, step
    return x


_SAMPLERS = {"euler": _euler, "heun": _heun, "ab2": _ab2}
