"""One round of training: gradient steps on a batch of scored rollouts, in memory, without files."""

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from advantageflow.errors import SettingsError, TrainingError
from advantageflow.flow.advantages import Advantages, Grouped, combined_advantages
from advantageflow.flow.importance_sampling import (
    importance_weights,
    most_telling,
    sampling_probabilities,
    systematic_draws,
)
from advantageflow.flow.moving_average import decay_after
from advantageflow.objectives.base import Objective, VelocityObjective
from advantageflow.objectives.batches import Metrics, TransitionBatch, VelocityBatch
from advantageflow.records import derive_seed
from advantageflow.settings import TrainingSettings
from advantageflow.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from advantageflow.training.data import RoundData
from advantageflow.training.group import ALONE, Group
from advantageflow.training.policy import Policy
from advantageflow.training.step import PerRollout, Samples, Step, transition_batches, velocity_batches


def train_round(
    policy: Policy,
    data: RoundData,
    advantages: Advantages,
    settings: TrainingSettings,
    *,
    seed: int,
    round_index: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    step_done: Callable[[int, Metrics], None] = lambda number, metrics: None,
    steps_before: int = 0,
    rounds_before: int = 0,
    minibatches: Sequence[Samples] | None = None,
    group: Group = ALONE,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> list[Metrics]:
    """Train the policy on a round's rollouts, then move the rollout policy toward it.

    Every rollout, or the best and worst of each group where `settings.trained_share` says so, is a sample in each of
    `settings.inner_epochs` (on average, where they are drawn by advantage): at a fresh time t and noise each time, or
    at one step of its trajectory where the objective learns from those. An
    optimiser step takes a minibatch of the samples; all are of equal size. All randomness comes from `seed` and the
    number of the round. Rollouts with A = 0 are samples too: the regulariser keeps the policy where it is on them.

    Args:
        policy: changed in place.
        data: on the policy's device.
        advantages: of its rollouts: `round_advantages`.
        progress: told the samples done and in all.
        step_done: told each optimiser step, from 1, and its metrics, as it is done; first those of an earlier attempt.
        steps_before: gradient steps that the run has taken before this round, which decay schedules count.
        rounds_before: of the runs that this one continues, whose draws are not made again.
        minibatches: which rollouts each optimiser step trains on; drawn if not given.
        group: the processes that share each step's samples; all are given the same, and end with the same policy.
        checkpoints: what an earlier attempt at this round got to, and where this one keeps what it gets to.

    Returns:
        Metrics of each optimiser step: those of the objective ('loss' and 'advantage_loss' of all; see its class),
        'gradient_norm' before clipping, 'seconds', 'samples'.

    Raises:
        SettingsError: there are more gradient steps than samples.
        DataError: the objective needs trajectories, and there are none.
        TrainingError: a loss, gradient or weight is not finite; the rollout policy is left as it was.
        Preempted: the process was asked to end, and has kept a checkpoint.
        StoreError: a checkpoint cannot be read or written.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "training", rounds_before + round_index))
    values, objective = advantages.values.flatten().to(data.latents), settings.objective
    batches_of = transition_batches if objective.needs.trajectories else velocity_batches
    weights = None
    if minibatches is None:
        minibatches, weights = _minibatches(values.cpu().reshape(-1, data.group_size), settings, generator)
        weights = None if weights is None else weights.to(values)
    decay = 0.0 if isinstance(settings.rollout_decay, str) else settings.rollout_decay  # schedules are of rounds
    steps = checkpoints.resume(policy, generator)
    for number, metrics_of_step in enumerate(steps, start=1):
        step_done(number, metrics_of_step)
    done, in_all = (sum(map(len, some)) for some in (minibatches[: len(steps)], minibatches))
    for number, samples in enumerate(minibatches[len(steps) :], start=len(steps)):
        started = time.perf_counter()
        # On a round's first step the policy usually still is the rollout policy: then v_roll is v_theta.
        moved = number > 0 or not policy.is_rollout_policy()
        before = steps[-1] if steps else {}
        make_batch = batches_of(Step(policy, data, values, samples, settings, moved, before, generator, weights))
        totals: dict[str, Tensor] = {}
        own = 0
        for indices in group.indices(len(samples)).split(settings.microbatch):
            if not len(indices):
                break  # more processes than samples
            batch = make_batch(indices)
            loss, metrics = _held_to_the_base(*objective.loss(batch), batch, objective)
            weight = len(indices) / len(samples)
            (weight * loss).backward()
            for name, value in (metrics | batch.measures()).items():
                totals[name] = totals.get(name, 0) + weight * value
            own += len(indices)  # the other processes keep about its pace, so progress is that of all
            progress(done + min(own * group.size, len(samples)), in_all)
        totals = group.add_up(policy.adapters.parameters(), totals)
        where = f"round {round_index}, optimiser step {number + 1} of {len(minibatches)}"
        metrics_of_step = _move(policy, totals, settings, where)
        if decay:
            policy.adapters.follow(decay)
        metrics_of_step |= {"seconds": time.perf_counter() - started, "samples": float(len(samples))}
        steps.append(metrics_of_step)
        step_done(number + 1, metrics_of_step)
        checkpoints.keep(policy, generator, steps)
        done += len(samples)
    largest = _read({"largest_weight": policy.largest_weight()})
    _check_finite(largest, settings, f"round {round_index}, last optimiser step")
    if settings.sampled == "trained":
        policy.adapters.move_rollout_policy(0.0)
    elif decay:
        policy.adapters.take_average()
    else:
        policy.adapters.move_rollout_policy(decay_after(settings.rollout_decay, steps_before + len(steps)))
    return steps


def round_advantages(data: RoundData, settings: TrainingSettings) -> Advantages:
    """The advantages that `train_round` trains on."""
    return combined_advantages(
        data.terms, combine=data.combine, scale=settings.advantage_scale, clip=settings.advantage_clip,
        floor=settings.advantage_floor,
    )  # fmt: skip


def _minibatches(
    advantages: Grouped, settings: TrainingSettings, generator: torch.Generator
) -> tuple[Sequence[Samples], PerRollout | None]:
    """Which rollouts each optimiser step trains on, and each one's weight if it is not the same for all.

    Of those of each group that are trained on; uniformly: a permutation of all for each inner epoch, cut into equal
    parts. By advantage: as many draws, permuted.
    """
    kept = most_telling(advantages, settings.rollouts_trained_on(advantages.shape[1]))
    count = len(kept)
    if count * settings.inner_epochs < settings.gradient_steps:
        samples = f"{count} rollouts x {settings.inner_epochs} inner epochs"
        message = f"{settings.gradient_steps} gradient steps for {samples}: some are empty"
        raise SettingsError(message, where="training.gradient_steps", remedy="lower it, or make more rollouts a round")
    if settings.sampling == "uniform":
        order = torch.cat([kept[torch.randperm(count, generator=generator)] for _ in range(settings.inner_epochs)])
        return order.tensor_split(settings.gradient_steps), None
    probabilities, draws = sampling_probabilities(advantages.flatten()[kept]), count * settings.inner_epochs
    order = systematic_draws(probabilities, draws, torch.rand((), generator=generator).item())
    order = kept[order[torch.randperm(draws, generator=generator)]]
    weights = torch.zeros(advantages.numel(), dtype=probabilities.dtype)
    weights[kept] = importance_weights(probabilities)
    return order.tensor_split(settings.gradient_steps), weights


def _held_to_the_base(
    loss: Tensor, metrics: dict[str, Tensor], batch: VelocityBatch | TransitionBatch, objective: Objective
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss with what holds the policy to the base model, of which it may have 'reference' itself, and metrics."""
    terms = {}
    if objective.reference_weight > 0 and "reference" not in metrics:
        terms["reference"] = objective.reference_weight * batch.divergence.mean()
    if isinstance(objective, VelocityObjective) and isinstance(batch, VelocityBatch) and objective.norm_weight > 0:
        terms["norm_guard"] = objective.norm_weight * batch.norm_excess.mean()
    for name, term in terms.items():
        loss = loss + term
        metrics = metrics | {"loss": loss.detach(), name: term.detach()}
    return loss, metrics


def _move(policy: Policy, totals: dict[str, Tensor], settings: TrainingSettings, where: str) -> Metrics:
    """Step the optimiser along the gradient, clipped; returns the step's metrics.
    Raises TrainingError: one of them is not finite, and the policy is left as it was.
    """
    norm = nn.utils.clip_grad_norm_(policy.adapters.parameters(), settings.max_grad_norm)
    values = _read({**totals, "gradient_norm": norm})
    _check_finite(values, settings, where)
    policy.optimiser.step()
    policy.optimiser.zero_grad()
    return values


def _read(metrics: dict[str, Tensor]) -> Metrics:
    """The one transfer from the device of an optimiser step."""
    return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))


def _check_finite(values: Metrics, settings: TrainingSettings, where: str) -> None:
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        message = f"training diverged: {', '.join(wrong)} not finite"
        remedy = " or ".join(filter(None, [settings.objective.steadier, "lower training.learning_rate"]))
        raise TrainingError(message, where=where, remedy=remedy)
