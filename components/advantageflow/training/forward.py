"""The forward process: rollouts noised to random times, where velocities are regressed."""

from __future__ import annotations

import torch

from advantageflow.flow.path import interpolate, velocity_target
from advantageflow.flow.times import sample_times
from advantageflow.objectives.base import VelocityObjective
from advantageflow.objectives.batches import VelocityBatch
from advantageflow.training.policy import Inputs
from advantageflow.training.rollout_velocity import evaluated_samples, rollout_velocity
from advantageflow.training.step import Indices, MakeBatch, Step


def velocity_batches(step: Step) -> MakeBatch:
    """The step's batches of velocities, each sample at a time t and noise of its own.

    The model is evaluated once a sample, and again for v_roll and for v_ref only where they are needed; on a round's
    first step v_roll costs nothing.
    """
    policy, data, count, objective = step.policy, step.data, len(step.samples), step.settings.objective
    assert isinstance(objective, VelocityObjective)
    device = data.latents.device
    times = sample_times(count, objective.timestep_sampling, step.generator).to(device)
    noise = torch.randn(count, *data.latents.shape[1:], generator=step.generator).to(device)
    stand_for = evaluated_samples(objective.needs.rollout, step.advantages.cpu()[step.samples])

    def make_batch(indices: Indices) -> VelocityBatch:
        rollouts = step.samples[indices].to(device)
        groups = rollouts // data.group_size
        x_t = interpolate(data.latents[rollouts], noise[indices], times[indices])
        inputs: Inputs = (x_t, times[indices], data.conditioning.rows(groups))
        v_roll = rollout_velocity(policy, inputs, stand_for[indices]) if step.moved else None
        v_ref = policy.reference_velocity(inputs) if step.needs_reference else None
        velocity = policy.velocity(inputs)
        return VelocityBatch(
            policy=velocity,
            target=velocity_target(data.latents[rollouts], noise[indices]),
            rollout=velocity.detach() if v_roll is None else v_roll.over(velocity),
            advantages=step.advantages[rollouts],
            times=times[indices],
            reference=v_ref,
            deviations=step.settings.advantage_clip,
            before=step.before,
            stand_for=None if v_roll is None else v_roll.stand_for,
        )

    return make_batch
