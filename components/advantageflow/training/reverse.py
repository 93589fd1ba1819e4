"""The reverse process: steps of stored trajectories, whose probabilities the policy is moved to change."""

from __future__ import annotations

import math

from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.path import sample_times
from advantageflow.flow.sde import Transition, transition
from advantageflow.objectives.base import TransitionObjective
from advantageflow.objectives.batches import TransitionBatch
from advantageflow.training.policy import Inputs
from advantageflow.training.step import Indices, MakeBatch, Step


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
