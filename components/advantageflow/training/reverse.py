"""The loss of the reverse process: steps of stored trajectories, whose probabilities the policy is moved to change."""

from __future__ import annotations

import math

from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.objectives import TransitionBatch, flow_grpo_loss
from advantageflow.flow.sde import Transition, transition
from advantageflow.flow.times import sample_times
from advantageflow.settings import FlowGrpoSettings
from advantageflow.training.policy import Inputs
from advantageflow.training.step import MicrobatchLoss, Places, Step


def reverse_loss(step: Step, settings: FlowGrpoSettings, reference_weight: float) -> MicrobatchLoss:
    """Flow-GRPO's loss; a visit is one step of a rollout's trajectory.

    Steps are drawn in equal shares (stratified) from the first `usable_steps`. The model is evaluated once a visit,
    and again, for the mean under the base model, only with a reference weight.

    Args:
        step: with trajectories in its data.
        settings: of Flow-GRPO.
        reference_weight: of the KL to the base model.

    Raises:
        DataError: the data has no trajectories.
    """
    policy, data, paths = step.policy, step.data, step.data.trajectories
    if paths is None:
        remedy = "set rollout.sampler to sde and rollout.trajectories to true"
        raise DataError("flow_grpo learns from trajectories, and there are none", where="rollouts", remedy=remedy)
    device = data.latents.device
    usable = usable_steps(paths.steps, settings.step_fraction)
    uniform = sample_times(len(step.visits), "stratified", step.generator)
    numbers = (uniform * usable).long().clamp_max(usable - 1)  # rounding may lift the last stratum to its edge

    def loss(places: Places) -> tuple[Tensor, dict[str, Tensor]]:
        rollouts, number = step.visits[places].to(device), numbers[places]
        groups = rollouts // data.group_size
        sigma, following = paths.sigmas[number], paths.sigmas[number + 1]
        number = number.to(device)
        x, x_next = paths.states[rollouts, number], paths.states[rollouts, number + 1]
        inputs: Inputs = (x, sigma.to(device), data.conditioning.rows(groups))

        def lead(velocity: Tensor) -> Transition:
            return transition(x, velocity, sigma, following, paths.noise_level)

        reference = lead(policy.reference_velocity(inputs)).mean if reference_weight > 0 else None
        batch = TransitionBatch(
            policy=lead(policy.velocity(inputs)),
            following=x_next,
            rollout_log_probability=paths.log_probabilities[rollouts, number],
            advantages=step.advantages[rollouts],
            reference=reference,
        )
        return flow_grpo_loss(batch, clip_range=settings.clip_range, reference_weight=reference_weight)

    return loss


def usable_steps(steps: int, fraction: float) -> int:
    """`floor(fraction * steps)`, the steps of a trajectory that are learned from, counted from the noise; at least 1.

    Flow-GRPO leaves out the last ones (fraction .99), whose deviation is so small that ratios leave the clip range at
    once.
    """
    return max(1, math.floor(fraction * steps + 1e-9))  # .29 * 100 is just below 29
