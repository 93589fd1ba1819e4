"""The reverse process: steps of stored trajectories, whose probabilities the policy is moved to change."""

from __future__ import annotations

from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.path import sample_times, usable_steps
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
