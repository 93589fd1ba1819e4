"""How the values of held-out images are distributed: the prompts that go worst, and histograms."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from advantageflow.evaluation.statistics import Outcome

_HARDEST = 10
_BINS = 24


def hardest_prompts(outcomes: Mapping[str, Sequence[Outcome]], higher_is_better: bool) -> list[dict[str, Any]]:
    """The prompts on which the last policy does worst: 'prompt_id', 'task', and 'means' of strict by policy.

    Args:
        outcomes: of each policy by name, on equal prompts.
        higher_is_better: which way strict and soft go; soft decides between equals.
    """
    tasks: dict[str, str] = {}
    means: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for name, judged in outcomes.items():
        by_prompt: dict[str, list[Outcome]] = defaultdict(list)
        for one in judged:
            by_prompt[one.prompt_id].append(one)
            tasks[one.prompt_id] = one.task
        for prompt, images in by_prompt.items():
            means[prompt][name] = (
                statistics.fmean(one.strict for one in images),
                statistics.fmean(one.soft for one in images),
            )
    last = list(outcomes)[-1]
    order = sorted(means, key=lambda prompt: means[prompt][last], reverse=not higher_is_better)
    return [
        {
            "prompt_id": prompt,
            "task": tasks[prompt],
            "means": {name: strict for name, (strict, _) in means[prompt].items()},
        }
        for prompt in order[:_HARDEST]
    ]


def histogram(outcomes: Mapping[str, Sequence[Outcome]], measure: str) -> dict[str, Any] | None:
    """The images by value: 'low' and 'high' ends, 'bins' between them, of each the share by policy, and the 'tallest'.

    None for values that are 0 or 1, or all the same.

    Args:
        outcomes: of each policy by name.
        measure: 'strict', 'soft' or a term.
    """
    values = {name: [one.value(measure) for one in judged] for name, judged in outcomes.items()}
    known = {value for of_one in values.values() for value in of_one}
    if len(known) < 2 or known <= {0.0, 1.0}:
        return None
    low, high = min(known), max(known)
    counted = {name: np.histogram(of_one, _BINS, (low, high))[0] for name, of_one in values.items()}
    bins = [list(shares) for shares in zip(*((one / one.sum()).tolist() for one in counted.values()), strict=True)]
    return {"low": low, "high": high, "bins": bins, "tallest": max(map(max, bins))}
