"""The numbers of an evaluation: means of tasks and terms, with their intervals, and what they were judged by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from advantageflow.evaluation.labels import SOFT, STRICT
from advantageflow.evaluation.statistics import Outcome, task_means
from advantageflow.rewards.base import Reward, headline_column
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.settings import RewardSettings, RewardTerm


def evaluation_metrics(
    outcomes: Sequence[Outcome], judges: Mapping[str, Reward], reward: RewardSettings
) -> dict[str, Any]:
    """The numbers of metrics.json; strict, soft and terms are means of the task means, as GenEval reports them.

    `terms` and `watched` have, by name, `mean` and `ci95` and what a reader must know: reward, column, direction;
    where a term has a minimum also that, and `acceptable`, the share of images that meet it.
    """
    judge = judges[reward.name]
    strict, soft = task_means(outcomes, STRICT), task_means(outcomes, SOFT)
    return {
        "images": len(outcomes),
        "prompts": len({outcome.prompt_id for outcome in outcomes}),
        "reward": judge.name,
        "reward_version": judge.version,
        "reward_versions": {name: one.version for name, one in judges.items()},
        "strict_column": headline_column(judge, reward.column),
        "soft_column": SOFT if SOFT in judge.columns else reward.column,
        "strict": strict.overall.mean,
        "strict_ci95": strict.overall.ci95,
        "soft": soft.overall.mean,
        "soft_ci95": soft.overall.ci95,
        "tasks": {task: one.mean for task, one in strict.tasks.items()},
        "tasks_ci95": {task: one.ci95 for task, one in strict.tasks.items()},
        "tasks_soft": {task: one.mean for task, one in soft.tasks.items()},
        "terms": {term_name(term): _term(outcomes, term, judges[term.name]) for term in reward.terms},
        "watched": {term_name(term): _term(outcomes, term, judges[term.name]) for term in reward.watched},
    }


def _term(outcomes: Sequence[Outcome], term: RewardTerm, judge: Reward) -> dict[str, Any]:
    metrics = task_means(outcomes, term_name(term)).overall.as_json() | {
        "reward": term.name,
        "column": term.column,
        "higher_is_better": judge.higher_is_better,
    }
    if term.minimum is None:
        return metrics
    values = [outcome.value(term_name(term)) for outcome in outcomes]
    met = [
        (value > term.minimum) == judge.higher_is_better or math.isclose(value, term.minimum, rel_tol=1e-12)
        for value in values
    ]
    return {**metrics, "minimum": term.minimum, "acceptable": sum(met) / len(values)}
