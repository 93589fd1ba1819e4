"""Evaluations on equal prompts and noise side by side: tables by task, changes and win rates, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from advantageflow.evaluation.distributions import hardest_prompts, histogram
from advantageflow.evaluation.labels import further_terms, soft_label, strict_label
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import LEVEL, REPLICATES, Means, Outcome, difference, task_means, win_rate
from advantageflow.records import METRICS_FILE
from advantageflow.store.files import read_json


def compare_reports(reports: Mapping[str, Path], *, seed: int = 0) -> dict[str, Any]:
    """Hold reports against each other.

    Args:
        reports: by what to call them; the reference first. All are of the same prompts, seeds and rewards.
        seed: of the bootstrap's draws.

    Returns:
        `images`, `prompts`, `held_out_prompts`; `measures`: key -> label, direction and whether it is watched;
        `variants`: by name, `measures` (each with `overall` and `tasks`: mean and ci95), `statistics`, `alarms`;
        `pairs`: every two variants, `before` and `after`, by measure the `change`, `wins`, `ties`, `losses` and `rate`;
        `hardest`: prompts, see hardest_prompts; `histograms`: by measure, see histogram; `bootstrap`: replicates, seed.

    Raises:
        StoreError: a report is missing or corrupt.
        DataError: two reports are not of the same images.
    """
    metrics = {name: read_json(folder / METRICS_FILE) for name, folder in reports.items()}
    outcomes = {name: read_outcomes(folder) for name, folder in reports.items()}
    first = next(iter(metrics.values()))
    measures = _measures(first)
    return {
        "images": first["images"],
        "prompts": first["prompts"],
        "held_out_prompts": first.get("held_out_prompts", first["prompts"]),
        "measures": measures,
        "variants": {
            name: {
                "measures": {one: _means(task_means(outcomes[name], one, seed=seed)) for one in measures},
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
                    name: _pair(outcomes[before], outcomes[after], name, measure["higher_is_better"], seed)
                    for name, measure in measures.items()
                },
            }
            for before, after in combinations(reports, 2)
        ],
        "hardest": hardest_prompts(outcomes, next(iter(measures.values()))["higher_is_better"]),
        "histograms": {name: found for name in measures if (found := histogram(outcomes, name)) is not None},
        "bootstrap": {"replicates": REPLICATES, "seed": seed, "resampled": "prompts within tasks", "level": LEVEL},
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


def _means(means: Means) -> dict[str, Any]:
    return {
        "overall": means.overall.as_json(),
        "tasks": {task: interval.as_json() for task, interval in means.tasks.items()},
    }


def _pair(
    before: Sequence[Outcome], after: Sequence[Outcome], measure: str, higher_is_better: bool, seed: int
) -> dict[str, Any]:
    changes = _means(difference(before, after, measure, seed=seed))
    wins = win_rate(before, after, measure, higher_is_better=higher_is_better, seed=seed)
    return {
        "change": changes["overall"],
        "change_by_task": changes["tasks"],
        "wins": wins.wins,
        "ties": wins.ties,
        "losses": wins.losses,
        "rate": wins.rate.as_json(),
    }
