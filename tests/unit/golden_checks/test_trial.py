"""A trial finds rewards that depend on chance or on their batch, and those that declare nonsense."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from advantageflow.errors import RewardError
from advantageflow.golden_checks.check import try_reward
from advantageflow.golden_checks.pictures import Picture
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.results import check_declaration

Make = Callable[..., Reward]


@pytest.fixture
def two(pictures: list[Picture]) -> list[Picture]:
    return pictures[:2]


def test_a_sound_reward_has_no_problems_and_its_range_is_seen(brightness: Make, two: list[Picture]) -> None:
    check_declaration(brightness())
    trial = try_reward(brightness(), two)
    assert trial.problems(0.0) == []
    assert (trial.columns["mean"].lowest, trial.columns["mean"].highest) == (0.2, 0.8)
    assert (trial.columns["mean"].spread, trial.columns["fixed"].spread) == (pytest.approx(0.6), 0)


def test_scores_that_change_from_pass_to_pass_are_found(brightness: Make, two: list[Picture]) -> None:
    steps = itertools.count()
    trial = try_reward(brightness(lambda mean, batch: mean + next(steps) / 100), two)
    assert "mean differs by 0.02 when the same batch is scored twice" in trial.problems(0.01)


def test_scores_that_depend_on_the_batch_are_found_beyond_the_tolerance(brightness: Make, two: list[Picture]) -> None:
    trial = try_reward(brightness(lambda mean, batch: mean / batch), two)
    assert trial.problems(0.01) == ["mean differs by 0.4 between one batch and the pictures one by one"]
    assert trial.problems(2.0) == []


def test_a_value_out_of_range_names_the_picture(brightness: Make, two: list[Picture]) -> None:
    with pytest.raises(RewardError, match=r"mean = 1\.6, outside its declared range") as caught:
        try_reward(brightness(lambda mean, batch: 2 * mean), two)
    assert "picture 'light'" in caught.value.where


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("name", "", "name is ''"),
        ("version", 3, "version is 3: .* valid string"),
        ("higher_is_better", "yes", "higher_is_better is 'yes': .* valid boolean"),
        ("version", "1\x00", r"version is '1\\x00': .* not a line of printable text"),
        ("columns", {}, "columns is {}"),
        ("columns", {"a\nb": (0, 1)}, "not a line of printable text"),
        ("columns", {"mean": (1.0, 0.0)}, r"columns.mean is \(1.0, 0.0\): .*not \(lowest, highest\)"),
        ("columns", {"mean": 1.0}, "columns.mean is 1.0: .* valid tuple"),
    ],
)
def test_a_nonsensical_declaration_is_named(
    brightness: Make, part: str, value: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = brightness()
    monkeypatch.setattr(reward, part, value, raising=False)
    with pytest.raises(RewardError, match=words) as caught:
        check_declaration(reward)
    assert caught.value.where == ("reward Brightness" if part == "name" else "reward 'brightness'")
