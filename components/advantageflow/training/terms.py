"""The terms that training maximises, from the columns of the scores: each turned so that higher is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from advantageflow.errors import DataError
from advantageflow.flow.advantages import Grouped, Term
from advantageflow.rewards.plumbing.terms import score_column
from advantageflow.settings import RewardSettings
from advantageflow.store.files import read_metadata


def make_terms(
    reward: RewardSettings, higher_is_better: Mapping[str, bool], columns: Mapping[str, Grouped], where: str
) -> tuple[Term, ...]:
    """The terms of the settings, in their order.

    Args:
        reward: which columns to maximise, or to lower.
        higher_is_better: by reward, which of the two.
        columns: of the scores.
        where: these are.

    Raises:
        DataError: the scores lack a term's column.
    """
    terms = []
    for number, term in enumerate(reward.terms):
        column = score_column(reward, term.name, term.column)
        if column not in columns:
            message = f"the scores have no column '{column}' (found: {', '.join(columns)})"
            setting = f"reward.others.{number - 1}.column" if number else "reward.column"
            remedy = f"set {setting} to one of them, or score all shards by these settings"
            raise DataError(message, where=where, remedy=remedy)
        sign = 1 if higher_is_better[term.name] else -1
        minimum = None if term.minimum is None else sign * term.minimum
        terms.append(Term(sign * columns[column], term.weight, minimum))
    return tuple(terms)


def read_directions(reward: RewardSettings, scores: Sequence[Path]) -> dict[str, bool]:
    """By reward of the settings, whether the scores of all shards say that a higher value is better.

    Raises:
        DataError: shards differ in that.
    """
    return {term.name: _higher_is_better(term.name, scores) for term in reward.terms}


def _higher_is_better(reward: str, scores: Sequence[Path]) -> bool:
    """The direction of a reward; scores by a single reward say it for themselves as a whole."""
    directions = set()
    for shard in scores:
        metadata = read_metadata(shard)
        described = metadata.get("rewards", {}).get(reward, metadata)
        directions.add(bool(described.get("higher_is_better", True)))
    if len(directions) > 1:
        message = f"some say that a higher '{reward}' is better, some a lower"
        remedy = "score all shards with one version of the reward"
        raise DataError(message, where=", ".join(map(str, scores)), remedy=remedy)
    return directions.pop()
