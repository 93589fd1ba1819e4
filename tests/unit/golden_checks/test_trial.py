"""A trial finds rewards that depend on chance or on their batch, and those that declare nonsense."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from advantageflow.errors import RewardError
from advantageflow.golden_checks.pictures import Picture
from advantageflow.golden_checks.trial import try_reward
from advantageflow.rewards.base import Reward

Make = Callable[..., Reward]


@pytest.fixture
def two(pictures: list[Picture]) -> list[Picture]:
    return pictures[:2]


def test_a_sound_reward_has_no_problems_and_its_range_is_seen(brightness: Make, two: list[Picture]) -> None:
    trial = try_reward(brightness(), two, tolerance=0.0)
    assert list(trial.problems) == []
    assert (trial.columns["mean"].lowest, trial.columns["mean"].highest) == (0.2, 0.8)
    assert (trial.columns["mean"].spread, trial.columns["fixed"].spread) == (pytest.approx(0.6), 0)
    assert trial.pictures == 2


def test_scores_that_change_from_pass_to_pass_are_found(brightness: Make, two: list[Picture]) -> None:
    steps = itertools.count()
    trial = try_reward(brightness(lambda mean, batch: mean + next(steps) / 100), two, tolerance=0.01)
    assert any("mean differs by 0.02 when the same batch is scored twice" in problem for problem in trial.problems)


def test_scores_that_depend_on_the_batch_are_found_beyond_the_tolerance(brightness: Make, two: list[Picture]) -> None:
    reward = brightness(lambda mean, batch: mean / batch)
    trial = try_reward(reward, two, tolerance=0.01)
    assert list(trial.problems) == ["mean differs by 0.4 between one batch and the pictures one by one"]
    assert list(try_reward(reward, two, tolerance=2.0).problems) == []


def test_equal_scores_for_all_pictures_are_a_problem_where_the_pictures_differ(
    brightness: Make, two: list[Picture]
) -> None:
    reward = brightness(lambda mean, batch: 0.5)
    assert list(try_reward(reward, two, tolerance=0).problems) == ["all 2 pictures got the same scores"]
    assert list(try_reward(reward, two, tolerance=0, distinct=False).problems) == []


def test_a_value_out_of_range_names_the_picture(brightness: Make, two: list[Picture]) -> None:
    with pytest.raises(RewardError, match=r"mean = 1\.6, outside its declared range") as caught:
        try_reward(brightness(lambda mean, batch: 2 * mean), two, tolerance=0)
    assert "picture 'light'" in caught.value.where


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("name", "", "name is '', not a text"),
        ("version", 3, "version is 3, not a text"),
        ("higher_is_better", "yes", "higher_is_better is 'yes', not a bool"),
        ("columns", {}, "not a mapping"),
        ("columns", {"mean": (1.0, 0.0)}, r"range of column 'mean' is \(1.0, 0.0\)"),
        ("columns", {"mean": 1.0}, "range of column 'mean' is 1.0"),
    ],
)
def test_a_nonsensical_declaration_is_named(
    brightness: Make, two: list[Picture], part: str, value: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = brightness()
    monkeypatch.setattr(reward, part, value, raising=False)
    with pytest.raises(RewardError, match=words) as caught:
        try_reward(reward, two, tolerance=0)
    assert caught.value.where == "reward Brightness"
