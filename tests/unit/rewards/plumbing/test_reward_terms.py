"""The terms of the reward settings: each reward once, columns by name, and every mistake named with its term."""

from __future__ import annotations

from typing import Any

import pytest

from advantageflow.errors import SettingsError
from advantageflow.rewards.jpeg import JpegReward
from advantageflow.rewards.plumbing.terms import built_in_rewards, score_column, score_columns, term_name, term_rewards
from advantageflow.settings import RewardSettings, RewardTerm


def settings(*others: dict[str, Any], **first: Any) -> RewardSettings:
    return RewardSettings(**first, others=tuple(RewardTerm(**other) for other in others))


THREE = settings(
    {"name": "jpeg", "column": "compressibility"}, {"name": "shapes", "column": "strict"}, {"name": "layout",
                                                                                           "column": "beauty"}
)  # fmt: skip


def error_of(given: RewardSettings) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        term_rewards(given)
    return caught.value


def test_each_reward_is_made_once_in_the_order_of_the_terms() -> None:
    assert list(term_rewards(THREE)) == ["shapes", "jpeg", "layout"]


def test_columns_of_the_first_reward_keep_their_names_and_others_get_their_reward_s() -> None:
    assert score_column(THREE, "shapes", "strict") == "strict"
    assert score_column(THREE, "jpeg", "compressibility") == "jpeg.compressibility"
    assert score_columns(THREE, term_rewards(THREE)) == [
        "strict", "soft", "jpeg.compressibility", "jpeg.incompressibility", "layout.contrast", "layout.centring",
        "layout.beauty",
    ]  # fmt: skip
    assert [term_name(term) for term in THREE.terms] == [
        "shapes.soft", "jpeg.compressibility", "shapes.strict", "layout.beauty",
    ]  # fmt: skip


def test_an_unknown_reward_names_its_term_and_suggests_the_nearest() -> None:
    error = error_of(settings({"name": "layout", "column": "beauty"}, {"name": "jpg", "column": "compressibility"}))
    assert (error.where, "unknown reward 'jpg'" in error.message) == ("reward.others.1.name", True)
    assert "did you mean 'jpeg'?" in error.remedy


def test_a_column_that_a_reward_lacks_names_its_term() -> None:
    error = error_of(settings({"name": "layout", "column": "beuaty"}))
    assert error.where == "reward.others.0.column"
    assert error.message == "reward 'layout' has no column 'beuaty'"
    assert "did you mean 'beauty'?" in error.remedy
    assert error_of(settings(column="sotf")).where == "reward.column"


def test_the_same_term_twice_is_refused() -> None:
    error = error_of(settings({"name": "jpeg", "column": "compressibility"}, {"name": "shapes", "column": "soft"}))
    assert error.where == "reward.others.1"
    assert "'shapes.soft' is a duplicate of reward" in error.message


@pytest.mark.parametrize("minimum", [-0.1, 1.5])
def test_a_minimum_that_no_image_or_every_image_meets_is_refused(minimum: float) -> None:
    error = error_of(settings({"name": "layout", "column": "beauty", "minimum": minimum}))
    assert error.where == "reward.others.0.minimum"
    assert "range [0.0, 1.0] of 'layout.beauty'" in error.message
    term_rewards(settings(minimum=0.5))


def test_rewards_that_would_overwrite_each_other_s_columns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JpegReward, "columns", {"layout.beauty": (0.0, 1.0)})
    error = error_of(settings({"name": "layout", "column": "beauty"}, name="jpeg", column="layout.beauty"))
    assert "same columns into the scores: layout.beauty" in error.message


def test_where_rewards_need_not_be_installed_those_that_are_built_in_are_checked() -> None:
    elsewhere = {"name": "not_installed:Reward", "column": "x"}
    assert list(built_in_rewards(settings(elsewhere, {"name": "ocr", "column": "accuracy"}))) == ["shapes", "ocr"]
    with pytest.raises(SettingsError, match="reward 'jpeg' has no column 'soft'"):
        built_in_rewards(settings(elsewhere, name="jpeg"))
