"""Losses of the forward process: rollouts noised to random times, where velocities are regressed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advantageflow.flow.objectives import VelocityBatch
from advantageflow.flow.objectives.common import LossAndMetrics, Mask, PerSample, SomeSamples, Velocities
from advantageflow.flow.path import interpolate, velocity_target
from advantageflow.flow.times import sample_times
from advantageflow.training.policy import Inputs, Policy
from advantageflow.training.step import MicrobatchLoss, PerRollout, PerVisit, Places, Step, Visits

WATCHED = 8  # of visits whose loss does not contain v_roll, each so-many-th tells how far the policy is from it


@dataclass(frozen=True)
class ForwardObjective:
    """An objective of the forward process.

    Attributes:
        loss: loss and metrics of a batch of velocities.
        needs_rollout: for which samples a term with weight contains v_roll, given their advantages.
        needs_reference: whether a term with weight contains v_ref.
    """

    loss: Callable[[VelocityBatch], LossAndMetrics]
    needs_rollout: Callable[[PerSample], Mask]
    needs_reference: bool


def forward_loss(step: Step, objective: ForwardObjective) -> MicrobatchLoss:
    """The step's loss, each visit at a time t and noise of its own.

    The model is evaluated once a visit, and again for v_roll and for v_ref only where a term with weight contains
    them; on a round's first step v_roll costs nothing. Of visits whose terms do not contain v_roll a few have it
    evaluated all the same, to measure the deviation.
    """
    policy, data, count = step.policy, step.data, len(step.visits)
    device = data.latents.device
    times = sample_times(count, step.settings.timestep_sampling, step.generator).to(device)
    noise = torch.randn(count, *data.latents.shape[1:], generator=step.generator).to(device)
    stand_for = rollout_visits(objective, step.advantages, step.visits)

    def loss(places: Places) -> tuple[Tensor, dict[str, Tensor]]:
        rollouts = step.visits[places].to(device)
        groups = rollouts // data.group_size
        x_t = interpolate(data.latents[rollouts], noise[places], times[places])
        inputs: Inputs = (x_t, times[places], data.conditioning.rows(groups))
        some, v_roll = None, None
        if step.moved:
            some = some_samples(stand_for[places], device)
            v_roll = some_rollout_velocities(policy, inputs, some)
        v_ref = policy.reference_velocity(inputs) if objective.needs_reference else None
        velocity = policy.velocity(inputs)
        batch = VelocityBatch(
            policy=velocity,
            target=velocity_target(data.latents[rollouts], noise[places]),
            rollout=velocity.detach() if v_roll is None else v_roll,
            advantages=step.advantages[rollouts],
            times=times[places],
            reference=v_ref,
            rollout_samples=some,
        )
        return objective.loss(batch)

    return loss


def rollout_visits(objective: ForwardObjective, advantages: PerRollout, visits: Visits) -> PerVisit:
    """Of which of a step's visits v_roll is evaluated, on the CPU: for how many each stands in a mean, 0 for none.

    Those that need it stand for themselves; of the others each WATCHED-th is evaluated, and stands for all of them.
    """
    needed = objective.needs_rollout(advantages).cpu()[visits]
    stand_for = needed.to(advantages.dtype)
    others = (~needed).nonzero().flatten()
    watched = others[::WATCHED]
    if len(watched):
        stand_for[watched] = len(others) / len(watched)
    return stand_for


def some_samples(stand_for: PerVisit, device: torch.device) -> SomeSamples | None:
    """The samples of a batch that stand for any, on the device; None where that is each for itself."""
    if (stand_for == 1).all():
        return None
    rows = stand_for.nonzero().flatten()
    return SomeSamples(rows.to(device), stand_for[rows].to(device))


def some_rollout_velocities(policy: Policy, inputs: Inputs, some: SomeSamples | None) -> Velocities:
    """v_roll of some samples of a batch; None: of all."""
    if some is None:
        return policy.rollout_velocity(inputs)
    x_t, times, conditioning = inputs
    x_t = x_t[some.rows]
    return policy.rollout_velocity((x_t, times[some.rows], conditioning.rows(some.rows))) if len(some.rows) else x_t
