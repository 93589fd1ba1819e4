"""One round of training: gradient steps on a batch of scored rollouts, in memory, without files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from advantageflow.errors import SettingsError, TrainingError
from advantageflow.flow.advantages import Advantages, combined_advantages, group_advantages
from advantageflow.flow.moving_average import decay_after
from advantageflow.records import derive_seed
from advantageflow.settings import TrainingSettings
from advantageflow.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from advantageflow.training.data import RoundData
from advantageflow.training.group import ALONE, Group
from advantageflow.training.objectives import steadier, step_loss
from advantageflow.training.policy import Policy
from advantageflow.training.step import Metrics, MicrobatchLoss, Step, Visits


def train_round(
    policy: Policy,
    data: RoundData,
    settings: TrainingSettings,
    *,
    seed: int,
    round_index: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    steps_before: int = 0,
    rounds_before: int = 0,
    shares: Sequence[Visits] | None = None,
    group: Group = ALONE,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> list[Metrics]:
    """Train the policy on a round's rollouts, then move the rollout policy toward it.

    Every rollout is visited `settings.passes` times: at a fresh time t and noise each time, or, for `flow_grpo`, at one
    step of its trajectory. An optimiser step takes an equal share of the visits. All randomness comes from `seed` and
    the number of the round. Rollouts with A = 0 are visited too: the regulariser keeps the policy where it is on them.

    Args:
        policy: changed in place.
        data: on the policy's device.
        settings: of the training stage.
        seed: the run's.
        round_index: of the round.
        progress: told the visits done and in all.
        steps_before: gradient steps that the run has taken before this round, which decay schedules count.
        rounds_before: of the runs that this one continues, whose draws are not made again.
        shares: which rollouts each optimiser step visits; drawn if not given.
        group: the processes that share each step's visits; all are given the same, and end with the same policy.
        checkpoints: what an earlier attempt at this round got to, and where this one keeps what it gets to.

    Returns:
        Metrics of each optimiser step: those of the objective ('loss' and 'advantage_loss' of all; see its function),
        'gradient_norm' before clipping, 'seconds', 'samples'.

    Raises:
        SettingsError: there are more gradient steps than visits.
        DataError: the objective needs trajectories, and there are none.
        TrainingError: a loss, gradient or weight is not finite; the rollout policy is left as it was.
        Preempted: the process was asked to end, and has kept a checkpoint.
        StoreError: a checkpoint cannot be read or written.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "training", rounds_before + round_index))
    advantages = round_advantages(data, settings).values.flatten().to(data.latents)
    shares = _shares(len(advantages), settings, generator) if shares is None else shares
    steps = checkpoints.resume(policy, generator)
    done, all_visits = sum(len(visits) for visits in shares[: len(steps)]), sum(len(visits) for visits in shares)
    for number, visits in enumerate(shares[len(steps) :], start=len(steps)):
        started = time.perf_counter()
        advance = _within_step(progress, done, len(visits), all_visits, group.size)
        done += len(visits)
        # On a round's first step the policy usually still is the rollout policy: then v_roll is v_theta.
        moved = number > 0 or not policy.is_rollout_policy()
        step = Step(policy, data, advantages, visits, settings, moved, steps[-1] if steps else None, generator)
        metrics = _accumulate_gradient(step_loss(step), step, group, advance)
        metrics["gradient_norm"] = nn.utils.clip_grad_norm_(policy.adapters.parameters(), settings.max_grad_norm)
        values = _read(metrics)
        where = f"round {round_index}, optimiser step {number + 1} of {settings.gradient_steps}"
        _check_finite(values, settings, where)
        policy.optimiser.step()
        policy.optimiser.zero_grad()
        steps.append({**values, "seconds": time.perf_counter() - started, "samples": float(len(visits))})
        checkpoints.keep(policy, generator, steps)
    weight = _read({"largest_weight": policy.largest_weight()})
    _check_finite(weight, settings, f"round {round_index}, last optimiser step")
    policy.adapters.move_rollout_policy(decay_after(settings.rollout_decay, steps_before + len(steps)))
    return steps


def round_advantages(data: RoundData, settings: TrainingSettings) -> Advantages:
    """The advantages that `train_round` trains on."""
    scale, clip = settings.advantage_scale, settings.advantage_clip
    if data.terms:
        return combined_advantages(data.terms, combine=data.combine, scale=scale, clip=clip)
    return group_advantages(data.rewards, scale=scale, clip=clip)


def _shares(count: int, settings: TrainingSettings, generator: torch.Generator) -> Sequence[Visits]:
    """Which rollouts each optimiser step visits: permutations of them all, one a pass, cut into equal shares."""
    if count * settings.passes < settings.gradient_steps:
        message = (
            f"{settings.gradient_steps} gradient steps for {count} rollouts x {settings.passes} passes: some are empty"
        )
        raise SettingsError(message, where="training.gradient_steps", remedy="lower it, or make more rollouts a round")
    order = torch.cat([torch.randperm(count, generator=generator) for _ in range(settings.passes)])
    return order.tensor_split(settings.gradient_steps)


def _within_step(
    progress: Callable[[int, int], None], before: int, visits: int, all_visits: int, processes: int
) -> Callable[[int], None]:
    """To be told of the visits that this process does: the others keep about its pace, so progress is that of all."""
    own = 0

    def advance(count: int) -> None:
        nonlocal own
        own += count
        progress(before + min(own * processes, visits), all_visits)

    return advance


def _accumulate_gradient(
    loss_of: MicrobatchLoss, step: Step, group: Group, advance: Callable[[int], None]
) -> dict[str, Tensor]:
    """Add the gradient of the mean loss over the step's visits: each process those of its own, one microbatch after the
    other, then once over all processes.

    Returns:
        Metrics, each a mean over the visits; they stay on the device.
    """
    count = len(step.visits)
    totals: dict[str, Tensor] = {}
    for places in group.places(count).split(step.settings.microbatch):
        if not len(places):
            break  # more processes than visits
        loss, metrics = loss_of(places)
        share = len(places) / count
        (share * loss).backward()
        for name, value in metrics.items():
            totals[name] = totals.get(name, 0) + share * value
        advance(len(places))
    return group.add_up(step.policy.adapters.parameters(), totals)


def _read(metrics: dict[str, Tensor]) -> Metrics:
    """The one transfer from the device of an optimiser step."""
    return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))


def _check_finite(values: Metrics, settings: TrainingSettings, where: str) -> None:
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        message = f"training diverged: {', '.join(wrong)} not finite"
        raise TrainingError(message, where=where, remedy=steadier(settings))
