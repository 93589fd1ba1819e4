"""The forward process: rollouts noised to random times, where velocities are regressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.path import interpolate, sample_intervals, sample_times, velocity_target
from advantageflow.objectives.base import VelocityObjective
from advantageflow.objectives.batches import VelocityBatch
from advantageflow.training.policy import Inputs, Policy
from advantageflow.training.rollout_velocity import evaluated_samples, rollout_velocity
from advantageflow.training.step import Indices, MakeBatch, Step

DERIVATIVE_STEP = 0.01  # of time


def velocity_batches(step: Step) -> MakeBatch:
    """The step's batches of velocities, each sample at a time t and noise of its own.

    The model is evaluated once a sample, and again for v_roll and for v_ref only where they are needed; on a round's
    first step v_roll costs nothing.

    Raises:
        DataError: times are to be the sampler's, and the data does not have them.
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
