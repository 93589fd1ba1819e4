"""Stochastic sampling with the marginals of the flow's ODE: transitions and their log-probabilities.

'sde': Liu et al., "Flow-GRPO: Training Flow Matching Models via Online RL", arXiv 2505.05470.
'cps': Wang and Yu, "Coefficients-Preserving Sampling for Reinforcement Learning with Flow Matching", arXiv 2509.05952.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from advantageflow.flow.samplers import Samples, Sigmas, VelocityFn

PerSample = Float[Tensor, " batch"]
StepNoise = Callable[[int], Samples]
StochasticSampler = Literal["sde", "cps"]


@dataclass(frozen=True)
class Transition:
    """Where a step leads: `x_next ~ N(mean, std^2)`, elements independent."""

    mean: Samples  # of each sample
    std: PerSample  # of each sample, the same for all its elements; 0 is the ODE
    length: PerSample  # `std^2 = g^2 length`: of 'sde' that of the step, -dt, as g is of a unit of time; of 'cps' 1
    # whether log-probabilities have the density's; those of 'cps' have not, as in its released code
    constants: bool = True

    def sample(self, noise: Samples) -> Samples:
        """`mean + std z` for standard normal z."""
        return self.mean + _over_elements(self.std, self.mean) * noise

    def log_probability(self, x_next: Samples) -> PerSample:
        """Mean over elements of `-(x_next - mean)^2 / (2 std^2) - log std - log sqrt(2 pi)`, for std above 0; without
        constants of `-(x_next - mean)^2`."""
        square = (x_next - self.mean).flatten(1).square().mean(1)
        if not self.constants:
            return -square
        return -square / (2 * self.std**2) - self.std.log() - math.log(2 * math.pi) / 2

    def divergence(self, other: Transition) -> PerSample:
        """KL to a transition of the same std: mean over elements of `(mean - other mean)^2 / (2 std^2)`."""
        return (self.mean - other.mean).flatten(1).square().mean(1) / (2 * self.std**2)


@dataclass(frozen=True)
class Trajectory:
    """Sampled paths, with all that their log-probabilities can be computed from again.

    Attributes:
        states: x at every noise level; the last is the clean latent where the last noise level is 0.
        log_probabilities: of each step, under the policy that took it.
        sigmas: the noise levels, falling, float64 on the CPU: of the whole path from 1 to 0, or of its noisy steps.
        noise_level: a, above 0.
        sampler: which took the steps.
    """

    states: Float[Tensor, "batch steps_plus_1 *element"]
    log_probabilities: Float[Tensor, "batch steps"]
    sigmas: Sigmas
    noise_level: float
    sampler: StochasticSampler = "sde"

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def rows(self, order: Tensor) -> Trajectory:
        """The paths with these numbers, in this order."""
        return replace(self, states=self.states[order], log_probabilities=self.log_probabilities[order])

    def to(self, device: torch.device) -> Trajectory:
        """The paths on a device."""
        return replace(self, states=self.states.to(device), log_probabilities=self.log_probabilities.to(device))


def concatenate(parts: Sequence[Trajectory]) -> Trajectory:
    """Paths over one grid of noise levels, one part after the other."""
    return replace(
        parts[0],
        states=torch.cat([part.states for part in parts]),
        log_probabilities=torch.cat([part.log_probabilities for part in parts]),
    )


def transition(
    x: Samples,
    velocity: Samples,
    sigma: PerSample,
    following: PerSample,
    noise_level: float,
    sampler: StochasticSampler = "sde",
) -> Transition:
    """The step from noise level sigma to the following one, `dt = following - sigma < 0`.

    'sde':

        g    = a sqrt(sigma / (1 - sigma))
        mean = x (1 + g^2 / (2 sigma) dt) + v (1 + g^2 (1 - sigma) / (2 sigma)) dt
        std  = g sqrt(-dt)

    In front of sigma = 1, where g has no bound, 1 - sigma is taken at the following level inside the root.

    'cps', which puts back as much noise as it takes away, so that x_next has exactly the level's share of it:

        std  = following sin(a pi / 2)
        mean = (1 - following) x_0 + sqrt(following^2 - std^2) eps,   x_0 = x - sigma v,   eps = x + (1 - sigma) v

    Args:
        x: states.
        velocity: v at them.
        sigma: noise level of each sample, in (0, 1], float64 on any device.
        following: the next lower one, in [0, sigma), likewise.
        noise_level: a, of 'cps' at most 1; at 0 the mean is the Euler step of the ODE, of 'sde' bit for bit.
    """
    dt = following - sigma
    if sampler == "cps":
        kept = math.cos(noise_level * math.pi / 2) * following
        x_factor, velocity_factor = 1 - following + kept, kept * (1 - sigma) - (1 - following) * sigma
        mean = _over_elements(x_factor, x) * x + _over_elements(velocity_factor, x) * velocity
        std = (following * math.sin(noise_level * math.pi / 2)).to(x)
        return Transition(mean, std, torch.ones_like(std), constants=False)
    g = noise_level * (sigma / (1 - torch.where(sigma == 1, following, sigma))).sqrt()
    drift = g**2 / (2 * sigma)
    x_factor, velocity_factor = 1 + drift * dt, (1 + drift * (1 - sigma)) * dt
    mean = _over_elements(x_factor, x) * x + _over_elements(velocity_factor, x) * velocity
    return Transition(mean, (g * (-dt).sqrt()).to(x), (-dt).to(x))


def integrate_sde(
    velocity_fn: VelocityFn,
    noise: Samples,
    sigmas: Sigmas,
    *,
    noise_level: float,
    step_noise: StepNoise,
    keep: bool = False,
    sampler: StochasticSampler = "sde",
    window: tuple[int, int] | None = None,
) -> tuple[Samples, Trajectory | None]:
    """Samples from sigmas[0] = 1 to sigmas[-1] = 0 with len(sigmas) - 1 velocity evaluations.
    Raises ValueError: `keep` with noise_level 0, where there are no log-probabilities.

    Args:
        velocity_fn: velocity of (x, sigma as a float), for the whole batch.
        noise: x at sigmas[0].
        sigmas: from `timesteps`.
        noise_level: a, at least 0; 0 is the Euler ODE.
        step_noise: standard normal noise of the step with this number, of the shape of x.
        keep: also return the trajectory of the noisy steps; else only the last x is held.
        sampler: of the noisy steps.
        window: first of them and the one after the last, from 0; the others are Euler's. None: all are noisy.

    Returns:
        x at sigmas[-1], and the trajectory or None.
    """
    if keep and noise_level == 0:
        raise ValueError("a trajectory without noise has no log-probabilities")
    first, past = window or (0, len(sigmas) - 1)
    x, log_probabilities = noise, []
    states: list[Samples] = []
    for number, (sigma, following) in enumerate(pairwise(sigmas.cpu())):
        velocity, levels = velocity_fn(x, sigma.item()), (sigma.expand(len(x)), following.expand(len(x)))
        if noise_level == 0 or not first <= number < past:
            x = transition(x, velocity, *levels, 0.0).mean
            continue
        step, before = transition(x, velocity, *levels, noise_level, sampler), x
        x = step.sample(step_noise(number))
        if keep:
            states += [x] if states else [before, x]
            log_probabilities.append(step.log_probability(x))
    if not keep:
        return x, None
    grid = sigmas.cpu()[first : past + 1]
    return x, Trajectory(torch.stack(states, 1), torch.stack(log_probabilities, 1), grid, noise_level, sampler)


def _over_elements(values: PerSample, samples: Samples) -> Tensor:
    return values.to(samples).reshape(-1, *[1] * (samples.ndim - 1))
