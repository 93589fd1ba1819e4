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
Both are told the samples of each step (`Workload.minibatches`): as in the peers' loop, all timesteps of its rollouts. A
batch holds as many rollouts as make one of our microbatches when their timesteps are folded into it.

The rows of the benchmark go from there, one saving after another, up to this package's own training.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from advantageflow.flow.path import interpolate, sample_times, velocity_target
from advantageflow.objectives.base import VelocityObjective
from advantageflow.objectives.batches import Metrics, VelocityBatch
from advantageflow.records import derive_seed
from advantageflow.settings import TrainingSettings
from advantageflow.training.policy import Inputs
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.step import Indices, RolloutVelocity, Samples, evaluated_samples, rollout_velocity
from advantageflow_experiments.bench.measure import Task
from advantageflow_experiments.bench.workload import CompiledBlocks, Workload, as_published

ROUND = 1
YARDSTICK = "the peers' loop"
FOLDED = "timesteps folded into the batch"
BFLOAT16 = "bfloat16 base"
COMPILED = "blocks compiled"
EAGER = "as the stage makes them"
BEST_PEER = "the best open peer"


@dataclass(frozen=True)
class Savings:
    """Which waste is left out."""

    text_once: bool = False  # text embeddings come from the data
    no_reference: bool = False  # the reference model, which has no weight in the loss, is not evaluated
    reuse_first: bool = False  # on the first step, where the policy is the rollout policy, v_roll is v_theta
    # v_roll is evaluated only of samples on which the loss gives it a weight, and of a few others
    needed_only: bool = False
    full_batches: bool = False  # a batch of one timestep is as large as one of ours


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
    for number, samples in enumerate(work.minibatches()):
        moved = number > 0 or not savings.reuse_first
        metrics = _accumulate_gradient(work, savings, samples, moved, steps[-1] if steps else {}, generator)
        norm = nn.utils.clip_grad_norm_(policy.adapters.parameters(), settings.max_grad_norm)
        policy.optimiser.step()
        policy.optimiser.zero_grad()
        steps.append({**metrics, "gradient_norm": norm.item(), "samples": float(len(samples))})
    return steps


def _accumulate_gradient(
    work: Workload, savings: Savings, samples: Samples, moved: bool, before: Metrics, generator: torch.Generator
) -> Metrics:
    """Add the gradient of the mean loss over the samples; returns means of the objective's metrics."""
    policy, data, settings, device = work.policy, work.data, work.settings, work.device
    objective = settings.objective
    assert isinstance(objective, VelocityObjective)
    advantages = round_advantages(data, settings).values.flatten().to(data.latents)
    stand_for = evaluated_samples(objective.needs.rollout, advantages.cpu()[samples])
    times = sample_times(len(samples), objective.timestep_sampling, generator).to(device)
    noise = torch.randn(len(samples), *data.latents.shape[1:], generator=generator).to(device)
    metrics: dict[str, Tensor] = {}
    batch_size = settings.microbatch if savings.full_batches else peer_batch(settings)
    for timesteps in peer_batches(samples, batch_size):
        groups = (samples[timesteps[0]] // data.group_size).to(device)
        text = data.conditioning.rows(groups) if savings.text_once else work.encode(groups)
        for indices in timesteps:
            rollouts, rows = samples[indices].to(device), slice(len(indices))
            x_t = interpolate(data.latents[rollouts], noise[indices], times[indices])
            inputs: Inputs = (x_t, times[indices], text.rows(rows))
            v_roll = None
            if moved and savings.needed_only:
                v_roll = rollout_velocity(policy, inputs, stand_for[indices])
            elif moved:
                v_roll = RolloutVelocity(None, policy.rollout_velocity(inputs), stand_for[indices].to(device))
            if not savings.no_reference:
                policy.reference_velocity(inputs)
            velocity = policy.velocity(inputs)
            batch = VelocityBatch(
                policy=velocity,
                target=velocity_target(data.latents[rollouts], noise[indices]),
                rollout=velocity.detach() if v_roll is None else v_roll.over(velocity),
                advantages=advantages[rollouts],
                times=times[indices],
                deviations=settings.advantage_clip,
                before=before,
                stand_for=None if v_roll is None else v_roll.stand_for,
            )
            loss, values = objective.loss(batch)
            weight = len(indices) / len(samples)
            (weight * loss).backward()
            for name, value in (values | batch.measures()).items():
                metrics[name] = metrics.get(name, 0) + weight * value
    return {name: value.item() for name, value in metrics.items()}


def peer_batch(settings: TrainingSettings) -> int:
    """Rollouts in a batch of the peers' loop: as many as are a microbatch of ours with their timesteps folded in."""
    return max(1, settings.microbatch // settings.inner_epochs)


def peer_batches(samples: Samples, rollouts: int) -> Iterator[list[Indices]]:
    """The samples of an optimiser step, batch after batch of so many different rollouts.

    Yields:
        For each timestep of the batch, the indices in `samples`. A rollout has the same row in all of them: those with
        more timesteps come first.
    """
    indices: dict[int, list[int]] = {}
    for index, rollout in enumerate(samples.tolist()):
        indices.setdefault(rollout, []).append(index)
    remaining = iter(sorted(indices.values(), key=len, reverse=True))
    while batch := list(islice(remaining, rollouts)):
        yield [torch.tensor([of[j] for of in batch if j < len(of)]) for j in range(len(batch[0]))]


def make_ladder(
    work: Workload, low_precision: Workload | None = None, compiled: CompiledBlocks | None = None
) -> list[Task]:
    """All rows, the yardstick first; each keeps the savings of those before it.

    Args:
        work: with a float32 base.
        low_precision: the same with a bfloat16 base, where the device is made for it.
        compiled: in which the blocks of the last one are compiled; None where they are not to be.
    """

    def peers(name: str, savings: Savings) -> Task:
        return _task(name, work, lambda: peer_round(work, savings))

    def ours(name: str, work: Workload) -> Task:
        return _task(name, work, lambda: _train_round(work))

    rows = [
        peers(YARDSTICK, savings := Savings()),
        peers("text encoded once", savings := replace(savings, text_once=True)),
        peers("no reference forward", savings := replace(savings, no_reference=True)),
        peers("v_roll reused on the first step", savings := replace(savings, reuse_first=True)),
        peers("v_roll only where it has a weight", replace(savings, needed_only=True)),
        ours(FOLDED, work),
    ]
    if low_precision is not None:
        rows.append(ours(BFLOAT16, low_precision))
    if compiled is not None:
        last = low_precision or work
        rows.append(_task(COMPILED, last, lambda: _within(compiled, last)))
    return rows


def best_peer(work: Workload) -> Task:
    """A fairer yardstick, as Flow-Factory trains, in the precision of our own last row: text encoded once, no forward
    that the loss does not use, v_roll of all samples on every step, batches of one timestep as large as ours; adapters
    by PEFT.
    """
    savings = Savings(text_once=True, no_reference=True, full_batches=True)

    def train() -> list[Metrics]:
        with as_published(work.policy.transformer):
            return peer_round(work, savings)

    return _task(BEST_PEER, work, train)


def _task(name: str, work: Workload, train: Callable[[], list[Metrics]]) -> Task:
    def run() -> list[Metrics]:
        with work.precision():
            return train()

    return Task(name, work.samples, work.restart, run)


def _within(compiled: CompiledBlocks, work: Workload) -> list[Metrics]:
    with compiled:
        return _train_round(work)


def _train_round(work: Workload) -> list[Metrics]:
    advantages, minibatches = round_advantages(work.data, work.settings), work.minibatches()
    return train_round(
        work.policy, work.data, advantages, work.settings, seed=work.seed, round_index=ROUND, minibatches=minibatches
    )
