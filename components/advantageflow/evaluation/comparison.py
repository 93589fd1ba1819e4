"""Evaluations on equal prompts and noise side by side: tables by task, changes and win rates, as JSON."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from advantageflow.evaluation.labels import further_terms, soft_label, strict_label
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import LEVEL, REPLICATES, Outcome, difference, task_means, win_rate
from advantageflow.records import METRICS_FILE
from advantageflow.store.files import read_json

_HARDEST = 10
_BINS = 24

Outcomes = Mapping[str, Sequence[Outcome]]
"""Of each policy by name, on equal prompts and noise."""


def compare_reports(reports: Mapping[str, Path]) -> dict[str, Any]:
    """Hold reports against each other.

    Args:
        reports: by what to call them; the reference first. All are of the same prompts, seeds and rewards.

    Returns:
        `images`, `prompts`, `held_out_prompts`; `measures`: key -> label, direction and whether it is watched;
        `variants`: by name, `measures` (each with `overall` and `tasks`: mean and ci95), `statistics`, `alarms`;
        `pairs`: every two variants, `before` and `after`, by measure the `change` and `change_by_task`, and see
        win_rate; `hardest`: the prompts on which the last variant does worst, with `means` of strict by variant;
        `histograms`: see _histogram; `bootstrap`: replicates, seed.

    Raises:
        StoreError: a report is missing or corrupt.
        DataError: two reports are not of the same images.
    """
    metrics = {name: read_json(folder / METRICS_FILE) for name, folder in reports.items()}
    outcomes = {name: read_outcomes(folder) for name, folder in reports.items()}
    judged = {name: [one for one in of_one if one.judged] for name, of_one in outcomes.items()}
    first = next(iter(metrics.values()))
    measures = _measures(first)
    return {
        "images": first["images"],
        "prompts": first["prompts"],
        "held_out_prompts": first.get("held_out_prompts", first["prompts"]),
        "measures": measures,
        "variants": {
            name: {
                "measures": {one: task_means(outcomes[name], one).as_json() for one in measures},
                "statistics": metrics[name].get("statistics", {}),
                "alarms": metrics[name].get("alarms", []),
            }
            for name in reports
        },
        "pairs": [
            {
                "before": before,
                "after": after,
                "measures": {
                    name: _pair(outcomes[before], outcomes[after], name, measure["higher_is_better"])
                    for name, measure in measures.items()
                },
            }
            for before, after in combinations(reports, 2)
        ],
        "hardest": _hardest(judged, measures["strict"]["higher_is_better"]),
        "histograms": {name: found for name in measures if (found := _histogram(judged, name)) is not None},
        "bootstrap": {"replicates": REPLICATES, "seed": 0, "resampled": "prompts within tasks", "level": LEVEL},
    }


def _measures(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What was judged, strict first; a term that stands under strict or soft already is left out."""
    first: Mapping[str, Any] = next(iter(metrics.get("terms", {}).values()), {})
    better = first.get("higher_is_better", True)
    labels = {"strict": strict_label(metrics), "soft": soft_label(metrics)}
    measures = {
        key: {"label": label, "higher_is_better": better, "watched": False} for key, label in labels.items() if label
    }
    for kind in ("terms", "watched"):
        for name, term in further_terms(metrics, kind).items():
            watched = kind == "watched"
            measures[name] = {"label": name, "higher_is_better": term["higher_is_better"], "watched": watched}
    return measures


def _pair(before: Sequence[Outcome], after: Sequence[Outcome], measure: str, higher_is_better: bool) -> dict[str, Any]:
    changes = difference(before, after, measure).as_json()
    wins = win_rate(before, after, measure, higher_is_better=higher_is_better)
    return {"change": changes["overall"], "change_by_task": changes["tasks"], **wins}


def _hardest(outcomes: Outcomes, higher_is_better: bool) -> list[dict[str, Any]]:
    """The prompts that go worst by strict, and by soft among equals: 'prompt_id', 'task', and 'means' of strict."""
    tasks: dict[str, str] = {}
    values: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for name, judged in outcomes.items():
        for one in judged:
            values[one.prompt_id][name].append((one.strict, one.soft))
            tasks[one.prompt_id] = one.task
    means = {
        prompt: {name: tuple(map(fmean, zip(*images, strict=True))) for name, images in by_name.items()}
        for prompt, by_name in values.items()
        if len(by_name) == len(outcomes)
    }
    last = list(outcomes)[-1]
    order = sorted(means, key=lambda prompt: means[prompt][last], reverse=not higher_is_better)
    return [
        {"prompt_id": prompt, "task": tasks[prompt], "means": {name: one[0] for name, one in means[prompt].items()}}
        for prompt in order[:_HARDEST]
    ]


def _histogram(outcomes: Outcomes, measure: str) -> dict[str, Any] | None:
    """The images by value: 'low' and 'high' ends, 'bins' between them, of each the share by policy, and the 'tallest'.

    None for values that are 0 or 1, or all the same.
    """
    values = [[one.value(measure) for one in judged] for judged in outcomes.values()]
    known = {value for of_one in values for value in of_one}
    if len(known) < 2 or known <= {0.0, 1.0}:
        return None
    low, high = min(known), max(known)
    counted = [np.histogram(of_one, _BINS, (low, high))[0] for of_one in values]
    bins = np.array([one / one.sum() for one in counted]).T.tolist()
    return {"low": low, "high": high, "bins": bins, "tallest": max(map(max, bins))}
