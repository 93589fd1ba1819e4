"""A training round in numbers: what the data taught, and how the steps went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advantageflow.flow.advantages import Advantages, violates
from advantageflow.objectives.batches import Metrics
from advantageflow.training.data import RoundData
from advantageflow.watch.images import join_summaries


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
