"""What an optimiser step works on, and how it is laid before an objective: a batch for each microbatch.

In the forward process rollouts are noised to random times, and velocities are regressed there. In the reverse process
steps of stored trajectories are looked at, whose probabilities the policy is moved to change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.path import interpolate, velocity_target
from advantageflow.flow.sde import Transition, transition
from advantageflow.flow.times import sample_times
from advantageflow.objectives.base import TransitionObjective, VelocityObjective
from advantageflow.objectives.batches import Metrics, TransitionBatch, VelocityBatch
from advantageflow.settings import TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.policy import Inputs, Policy
from advantageflow.training.rollout_velocity import evaluated_samples, rollout_velocity

PerRollout = Float[Tensor, " rollouts"]
Samples = Int[Tensor, " samples"]
Indices = Int[Tensor, " indices"]

MakeBatch = Callable[[Indices], Any]
"""The VelocityBatch or TransitionBatch of the samples of a step with these indices: it evaluates the model."""


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    Attributes:
        policy: in training.
        data: the round's, on the policy's device.
        advantages: of all rollouts of the round.
        samples: the rollouts that the step trains on, on the CPU; some may be there twice.
        settings: of the training stage.
        moved: whether the policy differs from the rollout policy; else v_roll is v_theta.
        before: metrics of the round's step before this one, the same in every process; empty on its first.
        generator: of all randomness, on the CPU: a step's is drawn at once, so that microbatches leave no trace.
        weights: of each rollout's gradient, where rollouts are drawn unevenly; None: all weigh the same.
    """

    policy: Policy
    data: RoundData
    advantages: PerRollout
    samples: Samples
    settings: TrainingSettings
    moved: bool
    before: Metrics
    generator: torch.Generator
    weights: PerRollout | None = None

    @property
    def needs_reference(self) -> bool:
        """Whether the base model has to be evaluated."""
        return self.settings.objective.reference_weight > 0 or self.settings.objective.needs.reference

    def velocity(self, inputs: Inputs, rollouts: Indices) -> Tensor:
        """v_theta of samples of these rollouts, its gradient weighted; losses are sums over samples."""
        velocity = self.policy.velocity(inputs)
        if self.weights is not None and velocity.requires_grad:
            weights = self.weights[rollouts].reshape(-1, *[1] * (velocity.ndim - 1))
            velocity.register_hook(lambda gradient: gradient * weights)
        return velocity


def velocity_batches(step: Step) -> MakeBatch:
    """The step's batches of velocities, each sample at a time t and noise of its own.

    The model is evaluated once a sample, and again for v_roll and for v_ref only where they are needed; on a round's
    first step v_roll costs nothing.
    """
    policy, data, count, objective = step.policy, step.data, len(step.samples), step.settings.objective
    assert isinstance(objective, VelocityObjective)
    device = data.latents.device
    times = sample_times(count, objective.timestep_sampling, step.generator).to(device)
    noise = sample_noise(count, data.latents, step.generator)
    stand_for = evaluated_samples(objective.needs.rollout, step.advantages.cpu()[step.samples])

    def make_batch(indices: Indices) -> VelocityBatch:
        rollouts = step.samples[indices].to(device)
        groups = rollouts // data.group_size
        eps = noise(indices)
        x_t = interpolate(data.latents[rollouts], eps, times[indices])
        inputs: Inputs = (x_t, times[indices], data.conditioning.rows(groups))
        v_roll = rollout_velocity(policy, inputs, stand_for[indices]) if step.moved else None
        v_ref = policy.reference_velocity(inputs) if step.needs_reference else None
        velocity = step.velocity(inputs, rollouts)
        return VelocityBatch(
            policy=velocity,
            target=velocity_target(data.latents[rollouts], eps),
            rollout=velocity.detach() if v_roll is None else v_roll.over(velocity),
            advantages=step.advantages[rollouts],
            times=times[indices],
            reference=v_ref,
            deviations=step.settings.advantage_clip,
            before=step.before,
            stand_for=None if v_roll is None else v_roll.stand_for,
        )

    return make_batch


def sample_noise(count: int, like: Tensor, generator: torch.Generator) -> Callable[[Indices], Tensor]:
    """Standard normal noise of a step's samples, on the device of `like`; of equal seeds equal, in any microbatch.

    On the CPU it is drawn at once. A GPU draws each sample's from a seed of its own when it is asked for: of a large
    step the CPU would take seconds, and the GPU gigabytes.

    Args:
        count: number of samples.
        like: any tensor whose rows have a sample's shape.
        generator: on the CPU.
    """
    shape, device = like.shape[1:], like.device
    if device.type == "cpu":
        noise = torch.randn(count, *shape, generator=generator)
        return lambda indices: noise[indices]
    return seeded_noise(torch.randint(2**62, (count,), generator=generator).tolist(), shape, device)


def seeded_noise(seeds: Sequence[int], shape: torch.Size, device: torch.device) -> Callable[[Indices], Tensor]:
    """Standard normal noise of samples with these seeds, drawn on the device."""
    own = torch.Generator(device)
    return lambda indices: torch.stack(
        [torch.randn(shape, generator=own.manual_seed(seeds[i]), device=device) for i in indices.tolist()]
    )


def transition_batches(step: Step) -> MakeBatch:
    """The step's batches of transitions; a sample is one step of a rollout's trajectory.

    Steps are drawn from equal strata of the first `usable_steps`. The model is evaluated once a sample,
    and again, for the mean under the base model, only where that is needed.

    Raises:
        DataError: the data has no trajectories.
    """
    policy, data, paths, objective = step.policy, step.data, step.data.trajectories, step.settings.objective
    assert isinstance(objective, TransitionObjective)
    if paths is None:
        message = f"{objective.name} learns from trajectories, and there are none"
        remedy = "set rollout.sampler to sde and rollout.trajectories to true"
        raise DataError(message, where="rollouts", remedy=remedy)
    device = data.latents.device
    usable = usable_steps(paths.steps, objective.step_fraction)
    uniform = sample_times(len(step.samples), "stratified", step.generator)
    numbers = (uniform * usable).long().clamp_max(usable - 1)  # rounding may lift the last stratum to its edge

    def make_batch(indices: Indices) -> TransitionBatch:
        rollouts, number = step.samples[indices].to(device), numbers[indices]
        groups = rollouts // data.group_size
        sigma, following = paths.sigmas[number], paths.sigmas[number + 1]
        number = number.to(device)
        x, x_next = paths.states[rollouts, number], paths.states[rollouts, number + 1]
        inputs: Inputs = (x, sigma.to(device), data.conditioning.rows(groups))

        def lead(velocity: Tensor) -> Transition:
            return transition(x, velocity, sigma, following, paths.noise_level)

        reference = lead(policy.reference_velocity(inputs)) if step.needs_reference else None
        return TransitionBatch(
            policy=lead(step.velocity(inputs, rollouts)),
            following=x_next,
            rollout_log_probability=paths.log_probabilities[rollouts, number],
            advantages=step.advantages[rollouts],
            reference=reference,
        )

    return make_batch


def usable_steps(steps: int, fraction: float) -> int:
    """`floor(fraction * steps)`, the steps of a trajectory that are learned from, counted from the noise; at least 1.

    Flow-GRPO leaves out the last ones (fraction .99), whose deviation is so small that ratios leave the clip range at
    once.
    """
    return max(1, math.floor(fraction * steps + 1e-9))  # .29 * 100 is just below 29
