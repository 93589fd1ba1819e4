"""A training round in numbers: what the data taught, as a whole and prompt by prompt, and how the steps went."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from advantageflow.flow.advantages import Advantages, Grouped, constrained, rounding, violates
from advantageflow.objectives.batches import Metrics
from advantageflow.store.prompt_history import GroupOutcome, PromptHistory
from advantageflow.training.data import RoundData
from advantageflow.watch.images import join_summaries

PerGroup = Float[Tensor, " groups"]


def data_metrics(data: RoundData, advantages: Advantages) -> Metrics:
    """Mean and spread of each reward column over the round, and how much there is to learn from them.

    Where a term has a minimum, also the share of rollouts below one: 'reward/below_minimum'.
    """
    metrics: Metrics = {}
    for name, values in data.columns.items():
        metrics[f"reward/{name}_mean"] = values.mean().item()
        metrics[f"reward/{name}_std"] = values.std(correction=0).item()
        metrics[f"reward/{name}_group_std"] = values.std(1, correction=0).mean().item()
    if any(term.minimum is not None for term in data.terms):
        metrics["reward/below_minimum"] = violates(data.terms).double().mean().item()
    metrics["reward/equal_groups"] = advantages.equal_share.item()
    metrics["training/advantage_abs"] = advantages.values.abs().mean().item()
    metrics["training/advantage_clipped"] = advantages.clipped_share.item()
    return metrics


def image_metrics(shards: Sequence[Mapping[str, Any]]) -> Metrics:
    """What the rollouts looked like: means of their image statistics, as RolloutStatistics sums them up by shard."""
    return {f"rollouts/{name}": mean for name, mean in join_summaries(shards).items()}


def round_metrics(steps: Sequence[Metrics]) -> Metrics:
    """Means over the optimiser steps (samples weigh equally).

    The last step's deviation, the largest, also alone, where the objective has one.
    """
    samples = sum(step["samples"] for step in steps)
    seconds = sum(step["seconds"] for step in steps)
    averaged = [name for name in steps[0] if name not in ("seconds", "samples")]
    means = {f"training/{name}": sum(step[name] * step["samples"] for step in steps) / samples for name in averaged}
    if "deviation" in steps[-1]:
        means["training/last_deviation"] = steps[-1]["deviation"]
    return means | {
        "training/optimiser_steps": float(len(steps)),
        "training/seconds": seconds,
        "training/samples_per_second": samples / seconds,
    }


def updated_history(known: PromptHistory, data: RoundData, advantages: Advantages) -> PromptHistory:
    """What is known of the policy that the round started from, and how each prompt fared in this round."""
    number = known.rounds + 1
    prompts = dict(known.prompts)
    first = data.terms[0].rewards
    means, stds = first.mean(1), first.std(1, correction=0)
    columns = [values.tolist() for values in (means, stds, group_gains(data, advantages))]
    for prompt_id, mean, std, gain in zip(data.prompt_ids, *columns, strict=True):
        outcome = GroupOutcome(round=number, mean=mean, std=std, gain=gain)
        prompts[prompt_id] = (*prompts.get(prompt_id, ()), outcome)
    return PromptHistory(rounds=number, prompts=prompts)


def group_gains(data: RoundData, advantages: Advantages) -> PerGroup:
    """`Cov_group(r, A) / s`, s the standard deviation of all rewards of the round: how much a group teaches.

    The local target that the objective fits has an expected reward of Cov(r, A) / lam above the rollout policy's (see
    `expected_reward_gain`), so this is the gain that the group offers, in units that do not depend on the reward's. It
    is 0 for a group whose rewards are equal. With advantages scaled by the group it is the group's standard deviation,
    up to clipping: sqrt(p (1 - p)) for rewards of 0 and 1 with mean p; with the global scale its square, p (1 - p).
    Either is largest for mixed outcomes, which is why variance makes a curriculum ("Learning to Reason at the Frontier
    of Learnability", arXiv 2502.12272) and why DAPO drops equal groups (arXiv 2503.14476, section 3.2).

    Of several terms, r is their weighted sum, in standard deviations where training normalises them; rollouts below a
    minimum rank below all others in it, as they do in the advantages.
    """
    rewards = _maximised(data)
    covariance = ((rewards - rewards.mean(1, keepdim=True)) * advantages.values.to(rewards)).mean(1)
    return torch.where(advantages.equal_groups, 0.0, _in_deviations(covariance, rewards))


def _maximised(data: RoundData) -> Grouped:
    """What training maximises, as one number for each rollout."""
    if len(data.terms) == 1 and data.terms[0].minimum is None:
        return data.terms[0].rewards
    normalised = data.combine == "normalised_sum"
    parts = [t.weight * (_in_deviations(t.rewards, t.rewards) if normalised else t.rewards) for t in data.terms]
    return constrained(torch.stack(parts).sum(0), data.terms)


def _in_deviations(values: Tensor, rewards: Grouped) -> Tensor:
    """Values in standard deviations of all rewards; 0 where these are all the same, up to rounding."""
    deviation = rewards.std(correction=0)
    return torch.where(deviation > rounding(rewards).amax(), values / deviation, 0.0)
