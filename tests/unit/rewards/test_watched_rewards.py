"""Rewards that are only watched: which can be, and every mistake named with its place."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from advantageflow.errors import SettingsError
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.terms import term_rewards, watched_rewards
from advantageflow.settings import RewardSettings, RewardTerm

BEAUTY = {"name": "layout", "column": "beauty"}


def settings(*watched: dict[str, Any]) -> RewardSettings:
    return RewardSettings(watched=tuple(RewardTerm(**one) for one in watched))


def watched_of(given: RewardSettings) -> dict[str, Reward]:
    return watched_rewards(given, term_rewards(given))


def test_a_watched_reward_is_no_term_of_training() -> None:
    given = settings(BEAUTY, {"name": "jpeg", "column": "compressibility"})
    assert list(watched_of(given)) == ["layout", "jpeg"]
    assert list(term_rewards(given)) == ["shapes"]
    assert watched_of(RewardSettings()) == {}


def test_a_reward_that_exists_already_is_not_made_again() -> None:
    given = settings({"name": "shapes", "column": "strict"})
    made = term_rewards(given)
    assert watched_rewards(given, made)["shapes"] is made["shapes"]


@pytest.mark.parametrize(
    ("watched", "where", "words"),
    [
        (({"name": "layuot", "column": "beauty"},), "reward.watched.0.name", "unknown reward 'layuot'"),
        ((BEAUTY, {"name": "jpeg", "column": "size"}), "reward.watched.1.column", "no column 'size'"),
        ((BEAUTY, BEAUTY), "reward.watched.1", "a duplicate of reward.watched.0"),
        (({"name": "shapes", "column": "soft"},), "reward.watched.0", "a duplicate of reward"),
        (({**BEAUTY, "minimum": 2.0},), "reward.watched.0.minimum", "outside the range"),
    ],
)
def test_a_mistake_names_its_place(watched: tuple[dict[str, Any], ...], where: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        watched_of(settings(*watched))
    assert caught.value.where == where


def test_a_weight_is_refused_rather_than_passed_over() -> None:
    with pytest.raises(ValidationError, match="'layout' is only watched, so it has no weight"):
        settings({**BEAUTY, "weight": 2.0})
