"""The numbers of an evaluation: means of tasks and terms, with their intervals, and what they were judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advantageflow.evaluation.labels import SOFT, STRICT
from advantageflow.evaluation.statistics import Outcome, bounded_ci95, image_mean, mean_of_task_means, task_estimates
from advantageflow.evaluation.terms import term_metrics
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.headline import headline_column
from advantageflow.settings import RewardSettings


def evaluation_metrics(
    outcomes: Sequence[Outcome], judges: Mapping[str, Reward], reward: RewardSettings
) -> dict[str, Any]:
    """The numbers of metrics.json; strict, soft and terms are means of the task means, as GenEval reports them."""
    judge = judges[reward.name]
    soft_name = SOFT if SOFT in judge.columns else reward.column
    names = {STRICT: headline_column(judge, reward.column), SOFT: soft_name}
    strict, soft = mean_of_task_means(outcomes, STRICT), mean_of_task_means(outcomes, SOFT)
    tasks, soft_tasks = task_estimates(outcomes, STRICT), task_estimates(outcomes, SOFT)
    ranges = {kind: judge.columns[name] for kind, name in names.items()}
    return {
        "images": len(outcomes),
        "prompts": len({outcome.prompt_id for outcome in outcomes}),
        "reward": judge.name,
        "reward_version": judge.version,
        "reward_versions": {name: one.version for name, one in judges.items()},
        "strict_column": names[STRICT],
        "soft_column": names[SOFT],
        "strict": strict.mean,
        "strict_ci95": bounded_ci95(strict, ranges[STRICT]),
        "soft": soft.mean,
        "soft_ci95": bounded_ci95(soft, ranges[SOFT]),
        "strict_image_mean": image_mean(outcomes, STRICT).mean,
        "soft_image_mean": image_mean(outcomes, SOFT).mean,
        "tasks": {task: estimate.mean for task, estimate in tasks.items()},
        "tasks_ci95": {task: bounded_ci95(estimate, ranges[STRICT]) for task, estimate in tasks.items()},
        "tasks_soft": {task: estimate.mean for task, estimate in soft_tasks.items()},
        "terms": term_metrics(outcomes, reward.terms, judges),
        "watched": term_metrics(outcomes, reward.watched, judges),
    }
