"""What an optimiser step works on, and how it is laid before an objective: a batch for each microbatch.

In the forward process rollouts are noised to random times, and velocities are regressed there. In the reverse process
steps of stored trajectories are looked at, whose probabilities the policy is moved to change.

v_roll is evaluated on the samples whose loss contains it, and on a few others to watch it: the policy's deviation from
the rollout policy is a measure of all samples, so each WATCHED-th of the others stands for all of these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.path import interpolate, sample_intervals, sample_times, usable_steps, velocity_target
from advantageflow.flow.sde import Transition, transition
from advantageflow.objectives.base import WATCHED, TransitionObjective, VelocityObjective
from advantageflow.objectives.batches import Metrics, TransitionBatch, VelocityBatch
from advantageflow.settings import TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.policy import Inputs, Policy

PerRollout = Float[Tensor, " rollouts"]
Samples = Int[Tensor, " samples"]
Indices = Int[Tensor, " indices"]
PerSample = Float[Tensor, " samples"]

MakeBatch = Callable[[Indices], Any]
"""The VelocityBatch or TransitionBatch of the samples of a step with these indices: it evaluates the model."""

DERIVATIVE_STEP = 0.01  # of time
BAD = -1e-8  # an advantage below it is bad; between it and 0 it is rounding


@dataclass(frozen=True)
class Step:
    """One optimiser step."""

    policy: Policy  # in training
    data: RoundData  # the round's, on the policy's device
    advantages: PerRollout  # of all rollouts of the round
    samples: Samples  # the rollouts that the step trains on, on the CPU; some may be there twice
    settings: TrainingSettings  # of the training stage
    moved: bool  # whether the policy differs from the rollout policy; else v_roll is v_theta
    before: Metrics  # metrics of the round's step before this one, the same in every process; empty on its first
    # of all randomness, on the CPU: a step's is drawn at once, so that microbatches leave no trace
    generator: torch.Generator
    # of each rollout's gradient, where rollouts are drawn unevenly; None: all weigh the same
    weights: PerRollout | None = None

    def velocity(self, inputs: Inputs, rollouts: Indices) -> Tensor:
        """v_theta of samples of these rollouts, its gradient weighted; losses are sums over samples."""
        velocity = self.policy.velocity(inputs)
        if self.weights is not None and velocity.requires_grad:
            weights = self.weights[rollouts].reshape(-1, *[1] * (velocity.ndim - 1))
            velocity.register_hook(lambda gradient: gradient * weights)
        return velocity


def velocity_batches(step: Step) -> MakeBatch:
    """The step's batches of velocities, each sample at a time t and noise of its own.
    Raises DataError: times are to be the sampler's, and the data does not have them.

    The model is evaluated once a sample, and again for v_roll and for v_ref only where they are needed; on a round's
    first step v_roll costs nothing.
    """
    policy, data, count, objective = step.policy, step.data, len(step.samples), step.settings.objective
    assert isinstance(objective, VelocityObjective)
    device = data.latents.device
    if objective.timestep_sampling == "sampler" and data.levels is None:
        message = "the rollouts do not tell the noise levels at which they were sampled"
        remedy = "make them again, or set training.objective.timestep_sampling to stratified"
        raise DataError(message, where="rollouts", remedy=remedy)
    times = sample_times(
        count, objective.timestep_sampling, step.generator,
        levels=data.levels, fraction=objective.timestep_fraction, shift=objective.timestep_shift,
    ).to(device)  # fmt: skip
    noise = sample_noise(count, data.latents, step.generator)
    lengths = None
    if policy.family.averages:
        own = data.levels if objective.timestep_sampling == "sampler" else None
        lengths = sample_intervals(times, own, step.generator).to(device)
    stand_for = evaluated_samples(objective.needs.rollout, step.advantages.cpu()[step.samples])

    def make_batch(indices: Indices) -> VelocityBatch:
        rollouts = step.samples[indices].to(device)
        groups = rollouts // data.group_size
        eps = noise(indices)
        x_t = interpolate(data.latents[rollouts], eps, times[indices])
        told = data.conditioning.rows(groups)
        if lengths is not None:
            told = told.telling("interval", lengths[indices])
        inputs: Inputs = (x_t, times[indices], told)
        target = velocity_target(data.latents[rollouts], eps)
        v_roll = rollout_velocity(policy, inputs, stand_for[indices]) if step.moved else None
        v_ref = policy.reference_velocity(inputs) if objective.reads_reference else None
        velocity = step.velocity(inputs, rollouts)
        rollout = velocity.detach() if v_roll is None else v_roll.over(velocity)
        v_avg = policy.average_velocity(inputs) if objective.needs.average else None
        if lengths is not None:  # one correction for all makes instantaneous velocities of average ones
            shared = mean_flow_correction(policy, inputs, lengths[indices], velocity, target)
            velocity, rollout = velocity + shared, rollout + shared
            v_ref, v_avg = (None if v is None else v + shared for v in (v_ref, v_avg))
        return VelocityBatch(
            policy=velocity,
            target=target,
            rollout=rollout,
            advantages=step.advantages[rollouts],
            times=times[indices],
            reference=v_ref,
            average=v_avg,
            deviations=step.settings.advantage_clip,
            before=step.before,
            stand_for=None if v_roll is None else v_roll.stand_for,
        )

    return make_batch


def mean_flow_correction(policy: Policy, inputs: Inputs, lengths: Tensor, velocity: Tensor, target: Tensor) -> Tensor:
    """`C = h d u_theta / dt` along `dx / dt = v` to a fixed end, without gradient: then `u + C` is what v is fitted by.

    `v = u + h du / dt` is the derivative of `h u = x_t - x_(t-h)` (MeanFlow, arXiv 2505.13447). Added to u_theta,
    u_roll and u_ref alike it leaves their differences as they are (MeanFlowAdvantage, arXiv 2609.37670). The derivative
    is the difference to a point back on the path by a small part of the interval, for which float32 weights are needed.

    Args:
        inputs: x_t, t, and a conditioning that tells h.
        lengths: h of each sample.
        velocity: u_theta there.
        target: v of each sample.
    """
    x_t, times, told = inputs
    back = lengths.clamp_max(DERIVATIVE_STEP)
    earlier = x_t - back.reshape(-1, *[1] * (x_t.ndim - 1)) * target
    with torch.no_grad():
        behind = policy.velocity((earlier, times - back, told.telling("interval", lengths - back)))
    steps = (lengths / DERIVATIVE_STEP).clamp_min(1).reshape(-1, *[1] * (x_t.ndim - 1))
    return steps * (velocity.detach() - behind)


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
    Raises DataError: the data has no trajectories.

    Steps are drawn from equal strata of the first `usable_steps`. The model is evaluated once a sample,
    and again, for the mean under the base model, only where that is needed.
    """
    policy, data, paths, objective = step.policy, step.data, step.data.trajectories, step.settings.objective
    assert isinstance(objective, TransitionObjective)
    if paths is None:
        message = f"{objective.name} learns from trajectories, and there are none"
        remedy = "set rollout.sampler to sde or cps and rollout.trajectories to true"
        raise DataError(message, where="rollouts", remedy=remedy)
    device = data.latents.device
    usable = paths.steps
    if paths.sigmas[-1] == 0:  # else the last steps are left out already; the very last of 'cps' has no noise
        usable = min(usable_steps(usable, objective.step_fraction), max(1, usable - (paths.sampler == "cps")))
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
            return transition(x, velocity, sigma, following, paths.noise_level, paths.sampler)

        reference = lead(policy.reference_velocity(inputs)) if objective.reads_reference else None
        return TransitionBatch(
            policy=lead(step.velocity(inputs, rollouts)),
            following=x_next,
            rollout_log_probability=paths.log_probabilities[rollouts, number],
            advantages=step.advantages[rollouts],
            reference=reference,
        )

    return make_batch


@dataclass(frozen=True)
class RolloutVelocity:
    """v_roll of a batch."""

    rows: Tensor | None  # the samples that it was evaluated on; None: all
    velocities: Tensor  # of these (rows, *shape)
    stand_for: PerSample | None  # how many samples each of the batch stands for in a mean; None: each for itself

    def over(self, velocity: Tensor) -> Tensor:
        """v_roll of all samples of the batch, v_theta where it was not evaluated."""
        if self.rows is None:
            return self.velocities
        return velocity.detach().index_copy(0, self.rows, self.velocities.to(velocity.dtype))


def evaluated_samples(needed: Literal["all", "bad", "none"], advantages: PerSample) -> PerSample:
    """On which samples of an optimiser step v_roll is evaluated: how many each stands for in a mean, 0 for not at all.

    Args:
        needed: on which of them the loss contains it.
        advantages: of the step's samples, on the CPU.
    """
    if needed == "all":
        return torch.ones_like(advantages)
    stand_for = (advantages < BAD).to(advantages.dtype) if needed == "bad" else torch.zeros_like(advantages)
    others = (stand_for == 0).nonzero().flatten()
    watched = others[::WATCHED]
    if len(watched):
        stand_for[watched] = len(others) / len(watched)
    return stand_for


def rollout_velocity(policy: Policy, inputs: Inputs, stand_for: PerSample) -> RolloutVelocity:
    """v_roll of the samples of a batch that stand for any: `stand_for` of evaluated_samples, on the CPU."""
    if (stand_for == 1).all():
        return RolloutVelocity(None, policy.rollout_velocity(inputs), None)
    device = inputs[0].device
    rows, stand_for = stand_for.nonzero().flatten().to(device), stand_for.to(device)
    x_t, times, conditioning = inputs
    some: Inputs = (x_t[rows], times[rows], conditioning.rows(rows))
    velocities = policy.rollout_velocity(some) if len(rows) else some[0]
    return RolloutVelocity(rows, velocities, stand_for)
