"""Evaluations on equal prompts and noise side by side: tables by task, changes and win rates, as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from advantageflow.evaluation.bootstrap import REPLICATES, Interval, bootstrap_change, bootstrap_means, win_rate
from advantageflow.evaluation.labels import soft_label, strict_label
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import Outcome
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
        `bootstrap`: replicates and seed.

    Raises:
        StoreError: a report is missing or corrupt.
        DataError: two reports are not of the same images.
    """
    metrics = {name: read_json(folder / METRICS_FILE) for name, folder in reports.items()}
    outcomes = {name: read_outcomes(folder) for name, folder in reports.items()}
    first = next(iter(metrics.values()))
    measures = _measures(first, next(iter(outcomes.values())))
    return {
        "images": first["images"],
        "prompts": first["prompts"],
        "held_out_prompts": first.get("held_out_prompts", first["prompts"]),
        "measures": measures,
        "variants": {
            name: {
                "measures": {measure: _means(outcomes[name], measure, seed) for measure in measures},
                "statistics": metrics[name].get("statistics", {}),
                "alarms": metrics[name].get("alarms", []),
            }
            for name in reports
        },
        "pairs": [
            {"before": before, "after": after}
            | {
                "measures": {
                    measure: _pair(outcomes[before], outcomes[after], measure, one["higher_is_better"], seed)
                    for measure, one in measures.items()
                }
            }
            for before, after in combinations(reports, 2)
        ],
        "bootstrap": {"replicates": REPLICATES, "seed": seed, "resampled": "prompts within tasks", "level": 0.95},
    }


def _measures(metrics: Mapping[str, Any], outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """What was judged, strict first; a term that stands under strict or soft already is left out."""
    terms, watched = metrics.get("terms", {}), metrics.get("watched", {})
    first: Mapping[str, Any] = next(iter(terms.values()), {})
    better = bool(first.get("higher_is_better", True))
    measures = {"strict": {"label": strict_label(metrics), "higher_is_better": better, "watched": False}}
    soft = soft_label(metrics)
    if soft is not None:
        measures["soft"] = {"label": soft, "higher_is_better": better, "watched": False}
    shown = {metrics.get("strict_column", "strict"), metrics.get("soft_column", "soft")}
    for name, term in {**terms, **watched}.items():
        stands_already = term["reward"] == first.get("reward") and term["column"] in shown
        if not stands_already and all(name in outcome.terms for outcome in outcomes):
            measures[name] = {
                "label": name, "higher_is_better": term["higher_is_better"], "watched": name in watched,
            }  # fmt: skip
    return measures


def _means(outcomes: Sequence[Outcome], measure: str, seed: int) -> dict[str, Any]:
    means = bootstrap_means(outcomes, measure, seed=seed)
    return {
        "overall": _json(means.overall),
        "tasks": {task: _json(interval) for task, interval in means.tasks.items()},
    }


def _pair(
    before: Sequence[Outcome], after: Sequence[Outcome], measure: str, higher_is_better: bool, seed: int
) -> dict[str, Any]:
    changes = bootstrap_change(before, after, measure, seed=seed)
    wins = win_rate(before, after, measure, higher_is_better=higher_is_better, seed=seed)
    return {
        "change": _json(changes.overall),
        "change_by_task": {task: _json(interval) for task, interval in changes.tasks.items()},
        "wins": wins.wins,
        "ties": wins.ties,
        "losses": wins.losses,
        "rate": _json(wins.rate),
    }


def _json(interval: Interval) -> dict[str, Any]:
    return {"mean": interval.mean, "ci95": [interval.low, interval.high]}
