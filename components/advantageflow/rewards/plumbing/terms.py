"""Several rewards at once: which ones the terms of the settings name, and what their columns are called in scores."""

from collections.abc import Mapping
from contextlib import suppress

from advantageflow.errors import RewardError, SettingsError
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.registry import BUILT_IN, get_guarded
from advantageflow.settings import RewardSettings, RewardTerm
from advantageflow.suggestions import suggest


def term_rewards(settings: RewardSettings) -> dict[str, Reward]:
    """The rewards that the terms name, by name in the order of the terms, each made once; every term is checked.

    Raises:
        SettingsError: a term's reward is unknown or has no such column or option, its minimum lies outside the column's
            range, two terms are the same, or give one reward different options; names the term.
        RewardError: a reward cannot be loaded.
    """
    rewards = _make(_trained(settings), {}, settings)
    names = score_columns(settings, rewards)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:  # the first reward has a column that is called as another's is in the scores
        message = f"two rewards would write the same columns into the scores: {', '.join(twice)}"
        raise SettingsError(message, where="reward.others", remedy="name another of the rewards first")
    return rewards


def watched_rewards(settings: RewardSettings, made: Mapping[str, Reward]) -> dict[str, Reward]:
    """The rewards that are only watched, by name in the order of the settings; raises what term_rewards does.

    Those that are made already (of term_rewards) are not made again; a watched column must not be trained on.
    """
    rewards = _make(_trained(settings) | _watched(settings), made, settings)
    return {term.name: rewards[term.name] for term in settings.watched}


def built_in_rewards(settings: RewardSettings) -> dict[str, Reward]:
    """The built-in ones of all rewards, whose terms are checked: for machines that need not have the others.
    Raises SettingsError as term_rewards.
    """
    terms = _trained(settings) | _watched(settings)
    with suppress(RewardError):  # what it needs may be in the images alone
        return _make({place: term for place, term in terms.items() if term.name in BUILT_IN}, {}, settings)
    return {}


def term_name(term: RewardTerm) -> str:
    """What a term is called in reports: '<reward>.<column>'."""
    return f"{term.name}.{term.column}"


def score_column(settings: RewardSettings, reward: str, column: str) -> str:
    """What a reward's column is called in the scores: '<reward>.<column>', without the name for the first reward."""
    return column if reward == settings.name else f"{reward}.{column}"


def score_columns(settings: RewardSettings, rewards: Mapping[str, Reward]) -> list[str]:
    """The columns of the scores, reward after reward."""
    return [score_column(settings, name, column) for name, reward in rewards.items() for column in reward.columns]


def _trained(settings: RewardSettings) -> dict[str, RewardTerm]:
    """The terms by their place in the settings."""
    first, *others = settings.terms
    return {"reward": first, **{f"reward.others.{number}": term for number, term in enumerate(others)}}


def _watched(settings: RewardSettings) -> dict[str, RewardTerm]:
    return {f"reward.watched.{number}": term for number, term in enumerate(settings.watched)}


def _make(terms: Mapping[str, RewardTerm], made: Mapping[str, Reward], settings: RewardSettings) -> dict[str, Reward]:
    """The rewards that terms (by their place) name, beside those that are made already; every term is checked."""
    rewards = dict(made)
    first_of_reward: dict[str, str] = {}
    first_of_term: dict[str, str] = {}
    for place, term in terms.items():
        if term.name not in rewards:
            rewards[term.name] = get_guarded(
                term.name, term.options, timeout=settings.timeout, memory_gb=settings.memory_gb, term=place
            )
        _check_term(rewards[term.name], term, place)
        earlier = first_of_reward.setdefault(term.name, place)
        if terms[earlier].options != term.options:
            message = f"reward '{term.name}' has other options here than in {earlier}: "
            message += f"{term.options} and {terms[earlier].options}"
            remedy = "give both terms the same options: a reward is made once, and its scores are kept by its name"
            raise SettingsError(message, where=f"{place}.options", remedy=remedy)
        earlier = first_of_term.setdefault(term_name(term), place)
        if earlier != place:
            message = f"'{term_name(term)}' is a duplicate of {earlier}"
            remedy = "keep one of the two: a weight says how much it counts, and what is trained on need not be watched"
            raise SettingsError(message, where=place, remedy=remedy)
    return rewards


def _check_term(reward: Reward, term: RewardTerm, place: str) -> None:
    """Whether its column is one of the reward's, and its minimum in that column's range."""
    if term.column not in reward.columns:
        message = f"reward '{reward.name}' has no column '{term.column}'"
        remedy = suggest(term.column, reward.columns, what=f"columns of reward '{reward.name}'")
        raise SettingsError(message, where=f"{place}.column", remedy=remedy)
    low, high = reward.columns[term.column]
    if term.minimum is not None and not low <= term.minimum <= high:
        message = f"{term.minimum} is outside the range [{low}, {high}] of '{term_name(term)}'"
        remedy = "give the worst value that you would accept, in the reward's own units"
        raise SettingsError(message, where=f"{place}.minimum", remedy=remedy)
