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
    """

    text_once: bool = False
    no_reference: bool = False
    reuse_first: bool = False


def peer_round(work: Workload, savings: Savings) -> list[Metrics]:
    """Train one round in the peers' order; the policy is changed in place.

    Args:
        work: at its start; its reference weight must be 0.
        savings: what is left out.

    Returns:
        'loss', 'gradient_norm' and 'samples' of each optimiser step.
    """
    policy, settings = work.policy, work.settings
    generator = torch.Generator().manual_seed(derive_seed(work.seed, "training", ROUND))
    steps = []
    for number, visits in enumerate(work.shares()):
        moved = number > 0 or not savings.reuse_first
        loss = _accumulate_gradient(work, savings, visits, moved, generator)
        norm = nn.utils.clip_grad_norm_(policy.adapters.parameters(), settings.max_grad_norm)
        policy.optimiser.step()
        policy.optimiser.zero_grad()
        steps.append({"loss": loss.item(), "gradient_norm": norm.item(), "samples": float(len(visits))})
    return steps


def _accumulate_gradient(
    work: Workload, savings: Savings, visits: Visits, moved: bool, generator: torch.Generator
) -> Tensor:
    """Add the gradient of the mean loss over the visits; returns that loss."""
    policy, data, settings, device = work.policy, work.data, work.settings, work.device
    objective = forward_objective(settings)
    advantages = round_advantages(data, settings).values.flatten().to(data.latents)
    times = sample_times(len(visits), settings.timestep_sampling, generator).to(device)
    noise = torch.randn(len(visits), *data.latents.shape[1:], generator=generator).to(device)
    total = torch.zeros((), device=device)
    for timesteps in peer_batches(visits, peer_batch(settings)):
        groups = (visits[timesteps[0]] // data.group_size).to(device)
        text = (data.prompt_embeds[groups], data.pooled[groups]) if savings.text_once else work.encode(groups)
        for places in timesteps:
            rollouts, rows = visits[places].to(device), slice(len(places))
            x_t = interpolate(data.latents[rollouts], noise[places], times[places])
            inputs: Inputs = (x_t, times[places], text[0][rows], text[1][rows])
            v_roll = policy.rollout_velocity(inputs) if moved else None
            if not savings.no_reference:
                policy.reference_velocity(inputs)
            velocity = policy.velocity(inputs)
            batch = VelocityBatch(
                policy=velocity,
                target=velocity_target(data.latents[rollouts], noise[places]),
                rollout=velocity.detach() if v_roll is None else v_roll,
                advantages=advantages[rollouts],
                times=times[places],
            )
            share = len(places) / len(visits)
            loss = share * objective.loss(batch)[0]
            loss.backward()
            total += loss.detach()
    return total


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
