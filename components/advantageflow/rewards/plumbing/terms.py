"""Several rewards at once: which ones the terms of the settings name, and what their columns are called in scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.checks import check_column
from advantageflow.rewards.plumbing.registry import get_reward
from advantageflow.settings import RewardSettings, RewardTerm


def term_rewards(settings: RewardSettings) -> dict[str, Reward]:
    """The rewards that the terms name, by name in the order of the terms, each made once; every term is checked.

    Raises:
        SettingsError: a term's reward is unknown or has no such column or option, its minimum lies outside the column's
            range, two terms are the same, or give one reward different options; names the term.
        RewardError: a reward cannot be loaded.
    """
    rewards: dict[str, Reward] = {}
    options_of: dict[str, tuple[str, Mapping[str, Any]]] = {}
    place_of: dict[str, str] = {}
    for number, term in enumerate(settings.terms):
        place = f"reward.others.{number - 1}" if number else "reward"
        _make(term, place, rewards, options_of)
        earlier = place_of.setdefault(term_name(term), place)
        if earlier != place:
            message = f"'{term_name(term)}' is a duplicate of {earlier}"
            raise SettingsError(message, where=place, remedy="keep one of the two; its weight says how much it counts")
    _check_score_columns(settings, rewards)
    return rewards


def watched_rewards(settings: RewardSettings, made: Mapping[str, Reward] | None = None) -> dict[str, Reward]:
    """The rewards that are only watched, by name in the order of the settings; every one is checked.

    Args:
        settings: which ones.
        made: rewards that exist already, such as those of term_rewards; they are not made again.

    Raises:
        SettingsError: a watched reward is unknown or has no such column or option, its minimum lies outside the
            column's range, it is a duplicate, is trained on, or has other options than elsewhere; names it.
        RewardError: a reward cannot be loaded.
    """
    rewards: dict[str, Reward] = {}
    place_of = {term_name(term): "a term that is trained on" for term in settings.terms}
    options_of: dict[str, tuple[str, Mapping[str, Any]]] = {
        term.name: ("a term that is trained on", term.options) for term in settings.terms
    }
    for number, term in enumerate(settings.watched):
        place = f"reward.watched.{number}"
        if made and term.name in made:
            rewards[term.name] = made[term.name]
        _make(term, place, rewards, options_of)
        earlier = place_of.setdefault(term_name(term), place)
        if earlier != place:
            message = f"'{term_name(term)}' is a duplicate of {earlier}"
            remedy = "keep one of the two: what is trained on tells nothing more when it is watched"
            raise SettingsError(message, where=place, remedy=remedy)
    return rewards


def term_name(term: RewardTerm) -> str:
    """What a term is called in reports: '<reward>.<column>'."""
    return f"{term.name}.{term.column}"


def score_column(settings: RewardSettings, reward: str, column: str) -> str:
    """What a reward's column is called in the scores: '<reward>.<column>', without the name for the first reward."""
    return column if reward == settings.name else f"{reward}.{column}"


def score_columns(settings: RewardSettings, rewards: Mapping[str, Reward]) -> list[str]:
    """The columns of the scores, reward after reward."""
    return [score_column(settings, name, column) for name, reward in rewards.items() for column in reward.columns]


def _make(
    term: RewardTerm, place: str, rewards: dict[str, Reward], options_of: dict[str, tuple[str, Mapping[str, Any]]]
) -> None:
    """Add the term's reward, unless it is there, and hold the term to it.

    Args:
        term: a term of the settings.
        place: where in the settings, for errors.
        rewards: by name.
        options_of: by reward, the first place that gives it options, and these.
    """
    if term.name not in rewards:
        rewards[term.name] = get_reward(term.name, term.options, term=place)
    _check_same_options(term, place, *options_of.setdefault(term.name, (place, term.options)))
    check_column(rewards[term.name], term.column, where=f"{place}.column")
    _check_minimum(rewards[term.name], term, place)


def _check_same_options(term: RewardTerm, place: str, earlier: str, options: Mapping[str, Any]) -> None:
    """Scores are kept by the reward's name, so a reward is made once."""
    if term.options != options:
        message = f"reward '{term.name}' has other options here than in {earlier}: {term.options} and {dict(options)}"
        remedy = "give both terms the same options: a reward is made once, and its scores are kept by its name"
        raise SettingsError(message, where=f"{place}.options", remedy=remedy)


def _check_minimum(reward: Reward, term: RewardTerm, place: str) -> None:
    low, high = reward.columns[term.column]
    if term.minimum is not None and not low <= term.minimum <= high:
        message = f"{term.minimum} is outside the range [{low}, {high}] of '{term_name(term)}'"
        remedy = "give the worst value that you would accept, in the reward's own units"
        raise SettingsError(message, where=f"{place}.minimum", remedy=remedy)


def _check_score_columns(settings: RewardSettings, rewards: Mapping[str, Reward]) -> None:
    """A column of the first reward may be called as a column of another is in the scores."""
    names = score_columns(settings, rewards)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"two rewards would write the same columns into the scores: {', '.join(twice)}"
        raise SettingsError(message, where="reward.others", remedy="name another of the rewards first")
