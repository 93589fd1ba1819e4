"""The reward's terms in an evaluation: what each came to on held-out images, however training combines them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from advantageflow.evaluation.statistics import Outcome, task_means
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.settings import RewardSettings, RewardTerm


def term_values(reward: RewardSettings, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Value of each term and of each watched reward, by its name.

    Args:
        reward: the terms.
        scores: of one image, by reward and column.
    """
    return {term_name(term): scores[term.name][term.column] for term in (*reward.terms, *reward.watched)}


def term_metrics(
    outcomes: Sequence[Outcome], terms: Sequence[RewardTerm], judges: Mapping[str, Reward]
) -> dict[str, dict[str, Any]]:
    """By term: 'mean' of the task means with 'ci95', and what a reader must know: reward, column, direction.

    Where it has a minimum, also that and 'acceptable', the share of images that meet it.

    Args:
        outcomes: images judged, with the values of all terms.
        terms: those to report: what training maximises, or what is only watched.
        judges: the rewards by name.
    """
    metrics: dict[str, dict[str, Any]] = {}
    for term in terms:
        name, judge = term_name(term), judges[term.name]
        metrics[name] = task_means(outcomes, name).overall.as_json() | {
            "reward": term.name,
            "column": term.column,
            "higher_is_better": judge.higher_is_better,
        }
        if term.minimum is not None:
            values = [outcome.value(name) for outcome in outcomes]
            met = sum(_meets(value, term.minimum, judge.higher_is_better) for value in values)
            metrics[name] |= {"minimum": term.minimum, "acceptable": met / len(values)}
    return metrics


def _meets(value: float, minimum: float, higher_is_better: bool) -> bool:
    """Whether a value is acceptable, up to rounding."""
    beyond = value > minimum if higher_is_better else value < minimum
    return beyond or math.isclose(value, minimum, rel_tol=1e-12)
