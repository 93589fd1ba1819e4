"""Losses of the forward process: rollouts noised to random times, where velocities are regressed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advantageflow.flow.objectives import VelocityBatch
from advantageflow.flow.path import interpolate, velocity_target
from advantageflow.flow.times import sample_times
from advantageflow.training.policy import Inputs
from advantageflow.training.step import MicrobatchLoss, Places, Step


@dataclass(frozen=True)
class ForwardObjective:
    """An objective of the forward process.

    Attributes:
        loss: loss and metrics of a batch of velocities.
        needs_rollout: whether a term with weight contains v_roll.
        needs_reference: whether a term with weight contains v_ref.
    """

    loss: Callable[[VelocityBatch], tuple[Tensor, dict[str, Tensor]]]
    needs_rollout: bool
    needs_reference: bool


def forward_loss(step: Step, objective: ForwardObjective) -> MicrobatchLoss:
    """The step's loss, each visit at a time t and noise of its own.

    The model is evaluated once a visit, and again for v_roll and for v_ref only where a term with weight contains
    them; on a round's first step v_roll costs nothing. Where no term contains v_roll it is evaluated on the step's
    first microbatch alone, to measure the deviation.
    """
    policy, data, count = step.policy, step.data, len(step.visits)
    device = data.latents.device
    times = sample_times(count, step.settings.timestep_sampling, step.generator).to(device)
    noise = torch.randn(count, *data.latents.shape[1:], generator=step.generator).to(device)

    def loss(places: Places) -> tuple[Tensor, dict[str, Tensor]]:
        rollouts = step.visits[places].to(device)
        groups = rollouts // data.group_size
        x_t = interpolate(data.latents[rollouts], noise[places], times[places])
        inputs: Inputs = (x_t, times[places], data.prompt_embeds[groups], data.pooled[groups])
        wanted = objective.needs_rollout or int(places[0]) == 0
        v_roll = policy.rollout_velocity(inputs) if step.moved and wanted else None
        v_ref = policy.reference_velocity(inputs) if objective.needs_reference else None
        velocity = policy.velocity(inputs)
        batch = VelocityBatch(
            policy=velocity,
            target=velocity_target(data.latents[rollouts], noise[places]),
            rollout=v_roll if step.moved else velocity.detach(),
            advantages=step.advantages[rollouts],
            times=times[places],
            reference=v_ref,
        )
        return objective.loss(batch)

    return loss
