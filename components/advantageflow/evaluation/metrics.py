"""The numbers of an evaluation: means of tasks and terms, with their intervals, and what they were judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advantageflow.evaluation.labels import SOFT, STRICT
from advantageflow.evaluation.statistics import Outcome, task_means
from advantageflow.evaluation.terms import term_metrics
from advantageflow.rewards.base import Reward, headline_column
from advantageflow.settings import RewardSettings


def evaluation_metrics(
    outcomes: Sequence[Outcome], judges: Mapping[str, Reward], reward: RewardSettings
) -> dict[str, Any]:
    """The numbers of metrics.json; strict, soft and terms are means of the task means, as GenEval reports them."""
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
        "terms": term_metrics(outcomes, reward.terms, judges),
        "watched": term_metrics(outcomes, reward.watched, judges),
    }
