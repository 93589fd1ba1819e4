"""The yardstick: a round of training in the loop order of earlier trainers, with their waste, part by part removable.

The released code of Flow-GRPO, DiffusionNFT and AWM (arXiv 2505.05470, 2509.16117, 2509.25050) has this order:

    for each batch of rollouts:
        run the text encoders on the batch's prompts, those of a group once for each of its rollouts
        for each of the batch's timesteps:
            evaluate the old (rollout) policy, the current policy and the reference model
            loss, backward
        step the optimiser when the accumulation is complete

Here the loss, the draws (which rollouts at which times with which noise) and what an optimiser step sums up are those
of `train_round`, so that losses and gradients are equal, and only the order of work and the superfluous work differ.
Both are told the visits of each step (`Workload.shares`): as in the peers' loop, all timesteps of the step's rollouts.
A batch holds as many rollouts as make one of our microbatches when their timesteps are folded into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from advantageflow.bench.workload import Workload
from advantageflow.flow.objectives import VelocityBatch
from advantageflow.flow.path import interpolate, velocity_target
from advantageflow.flow.times import sample_times
from advantageflow.records import derive_seed
from advantageflow.settings import TrainingSettings
from advantageflow.training.forward import (
    ForwardObjective,
    rollout_visits,
    some_rollout_velocities,
    some_samples,
)
from advantageflow.training.objectives import forward_objective
from advantageflow.training.policy import Inputs
from advantageflow.training.round import round_advantages
from advantageflow.training.step import Metrics, Places, Visits

ROUND = 1


@dataclass(frozen=True)
class Savings:
    """Which waste is left out.

    Attributes:
        text_once: text embeddings come from the data.
        no_reference: the reference model, which has no weight in the loss, is not evaluated.
        reuse_first: on the first step, where the policy is the rollout policy, v_roll is v_theta.
        needed_only: v_roll is evaluated only of samples on which the loss gives it a weight, and of a few others.
    """

    text_once: bool = False
    no_reference: bool = False
    reuse_first: bool = False
    needed_only: bool = False


def peer_round(work: Workload, savings: Savings) -> list[Metrics]:
    """Train one round in the peers' order; the policy is changed in place.

    Args:
        work: at its start; its reference weight must be 0.
        savings: what is left out.

    Returns:
        Of each optimiser step, the objective's metrics, 'gradient_norm' and 'samples'.
    """
    policy, settings = work.policy, work.settings
    generator = torch.Generator().manual_seed(derive_seed(work.seed, "training", ROUND))
    steps: list[Metrics] = []
    for number, visits in enumerate(work.shares()):
        moved = number > 0 or not savings.reuse_first
        objective = forward_objective(settings, steps[-1] if steps else None)
        metrics = _accumulate_gradient(work, savings, objective, visits, moved, generator)
        norm = nn.utils.clip_grad_norm_(policy.adapters.parameters(), settings.max_grad_norm)
        policy.optimiser.step()
        policy.optimiser.zero_grad()
        steps.append({**metrics, "gradient_norm": norm.item(), "samples": float(len(visits))})
    return steps


def _accumulate_gradient(
    work: Workload,
    savings: Savings,
    objective: ForwardObjective,
    visits: Visits,
    moved: bool,
    generator: torch.Generator,
) -> Metrics:
    """Add the gradient of the mean loss over the visits; returns means of the objective's metrics."""
    policy, data, settings, device = work.policy, work.data, work.settings, work.device
    advantages = round_advantages(data, settings).values.flatten().to(data.latents)
    stand_for = rollout_visits(objective, advantages, visits)
    times = sample_times(len(visits), settings.timestep_sampling, generator).to(device)
    noise = torch.randn(len(visits), *data.latents.shape[1:], generator=generator).to(device)
    metrics: dict[str, Tensor] = {}
    for timesteps in peer_batches(visits, peer_batch(settings)):
        groups = (visits[timesteps[0]] // data.group_size).to(device)
        text = data.conditioning.rows(groups) if savings.text_once else work.encode(groups)
        for places in timesteps:
            rollouts, rows = visits[places].to(device), slice(len(places))
            x_t = interpolate(data.latents[rollouts], noise[places], times[places])
            inputs: Inputs = (x_t, times[places], text.rows(rows))
            some = some_samples(stand_for[places], device) if moved else None
            v_roll = None
            if moved and savings.needed_only:
                v_roll = some_rollout_velocities(policy, inputs, some)
            elif moved:
                v_roll = policy.rollout_velocity(inputs)
                v_roll = v_roll if some is None else v_roll[some.rows]
            if not savings.no_reference:
                policy.reference_velocity(inputs)
            velocity = policy.velocity(inputs)
            batch = VelocityBatch(
                policy=velocity,
                target=velocity_target(data.latents[rollouts], noise[places]),
                rollout=velocity.detach() if v_roll is None else v_roll,
                advantages=advantages[rollouts],
                times=times[places],
                rollout_samples=some,
            )
            loss, values = objective.loss(batch)
            share = len(places) / len(visits)
            (share * loss).backward()
            for name, value in values.items():
                metrics[name] = metrics.get(name, 0) + share * value
    return {name: value.item() for name, value in metrics.items()}


def peer_batch(settings: TrainingSettings) -> int:
    """Rollouts in a batch of the peers' loop: as many as are a microbatch of ours with their timesteps folded in."""
    return max(1, settings.microbatch // settings.passes)


def peer_batches(visits: Visits, rollouts: int) -> Iterator[list[Places]]:
    """The visits of an optimiser step, batch after batch of so many different rollouts.

    Yields:
        For each timestep of the batch, the places in `visits`. A rollout has the same row in all of them: those with
        more timesteps come first.
    """
    places: dict[int, list[int]] = {}
    for place, rollout in enumerate(visits.tolist()):
        places.setdefault(rollout, []).append(place)
    remaining = iter(sorted(places.values(), key=len, reverse=True))
    while batch := list(islice(remaining, rollouts)):
        yield [torch.tensor([of[j] for of in batch if j < len(of)]) for j in range(len(batch[0]))]
