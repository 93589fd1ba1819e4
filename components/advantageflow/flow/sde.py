"""Stochastic sampling: an SDE with the marginals of the flow's ODE, its transitions and their log-probabilities.

Liu et al., "Flow-GRPO: Training Flow Matching Models via Online RL", arXiv 2505.05470.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from advantageflow.flow.samplers import Samples, Sigmas, VelocityFn

PerSample = Float[Tensor, " batch"]
StepNoise = Callable[[int], Samples]


@dataclass(frozen=True)
class Transition:
    """Where a step leads: `x_next ~ N(mean, std^2)`, elements independent.

    Attributes:
        mean: of each sample.
        std: of each sample, the same for all its elements; 0 is the ODE.
    """

    mean: Samples
    std: PerSample

    def sample(self, noise: Samples) -> Samples:
        """`mean + std z` for standard normal z."""
        return self.mean + _over_elements(self.std, self.mean) * noise

    def log_probability(self, x_next: Samples) -> PerSample:
        """Mean over elements of `-(x_next - mean)^2 / (2 std^2) - log std - log sqrt(2 pi)`; for std above 0."""
        square = (x_next - self.mean).flatten(1).square().mean(1)
        return -square / (2 * self.std**2) - self.std.log() - math.log(2 * math.pi) / 2

    def divergence(self, other: Transition) -> PerSample:
        """KL to a transition of the same std: mean over elements of `(mean - other mean)^2 / (2 std^2)`."""
        return (self.mean - other.mean).flatten(1).square().mean(1) / (2 * self.std**2)


@dataclass(frozen=True)
class Trajectory:
    """Sampled paths, with all that their log-probabilities can be computed from again.

    Attributes:
        states: x at every noise level, from the noise to the clean latent.
        log_probabilities: of each step, under the policy that took it.
        sigmas: the noise levels, from 1 to 0, float64 on the CPU.
        noise_level: a, above 0.
    """

    states: Float[Tensor, "batch steps_plus_1 *element"]
    log_probabilities: Float[Tensor, "batch steps"]
    sigmas: Sigmas
    noise_level: float

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    def rows(self, order: Tensor) -> Trajectory:
        """The paths with these numbers, in this order."""
        return Trajectory(self.states[order], self.log_probabilities[order], self.sigmas, self.noise_level)

    def to(self, device: torch.device) -> Trajectory:
        """The paths on a device."""
        return Trajectory(self.states.to(device), self.log_probabilities.to(device), self.sigmas, self.noise_level)


def concatenate(parts: Sequence[Trajectory]) -> Trajectory:
    """Paths over one grid of noise levels, one part after the other."""
    return Trajectory(
        torch.cat([part.states for part in parts]),
        torch.cat([part.log_probabilities for part in parts]),
        parts[0].sigmas,
        parts[0].noise_level,
    )


def transition(x: Samples, velocity: Samples, sigma: PerSample, following: PerSample, noise_level: float) -> Transition:
    """The step from noise level sigma to the following one, `dt = following - sigma < 0`.

        g    = a sqrt(sigma / (1 - sigma))
        mean = x (1 + g^2 / (2 sigma) dt) + v (1 + g^2 (1 - sigma) / (2 sigma)) dt
        std  = g sqrt(-dt)

    In front of sigma = 1, where g has no bound, 1 - sigma is taken at the following level inside the root.

    Args:
        x: states.
        velocity: v at them.
        sigma: noise level of each sample, in (0, 1], float64 on any device.
        following: the next lower one, in [0, sigma), likewise.
        noise_level: a; at 0 the mean is the Euler step of the ODE, bit for bit.
    """
    dt = following - sigma
    g = noise_level * (sigma / (1 - torch.where(sigma == 1, following, sigma))).sqrt()
    drift = g**2 / (2 * sigma)
    x_factor, velocity_factor = 1 + drift * dt, (1 + drift * (1 - sigma)) * dt
    mean = _over_elements(x_factor, x) * x + _over_elements(velocity_factor, x) * velocity
    return Transition(mean, (g * (-dt).sqrt()).to(x))


def integrate_sde(
    velocity_fn: VelocityFn,
    noise: Samples,
    sigmas: Sigmas,
    *,
    noise_level: float,
    step_noise: StepNoise,
    keep: bool = False,
) -> tuple[Samples, Trajectory | None]:
    """Samples the SDE from sigmas[0] = 1 to sigmas[-1] = 0 with len(sigmas) - 1 velocity evaluations.

    Args:
        velocity_fn: velocity of (x, sigma as a float), for the whole batch.
        noise: x at sigmas[0].
        sigmas: from `timesteps`.
        noise_level: a, at least 0.
        step_noise: standard normal noise of the step with this number, of the shape of x.
        keep: also return the trajectory; else only the last x is held.

    Returns:
        x at sigmas[-1], and the trajectory or None.

    Raises:
        ValueError: `keep` with noise_level 0, where there are no log-probabilities.
    """
    if keep and noise_level == 0:
        raise ValueError("a trajectory without noise has no log-probabilities")
    x, states, log_probabilities = noise, [noise], []
    for number, (sigma, following) in enumerate(pairwise(sigmas.cpu())):
        velocity = velocity_fn(x, sigma.item())
        step = transition(x, velocity, sigma.expand(len(x)), following.expand(len(x)), noise_level)
        x = step.sample(step_noise(number)) if noise_level > 0 else step.mean
        if keep:
            states.append(x)
            log_probabilities.append(step.log_probability(x))
    if not keep:
        return x, None
    return x, Trajectory(torch.stack(states, 1), torch.stack(log_probabilities, 1), sigmas.cpu(), noise_level)


def _over_elements(values: PerSample, samples: Samples) -> Tensor:
    return values.to(samples).reshape(-1, *[1] * (samples.ndim - 1))
