"""A reward that does not score golden pictures as it should stops the run, by its name and the picture's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advantageflow.errors import DataError, RewardError, SettingsError
from advantageflow.golden_checks.check import check_reward, check_rewards
from advantageflow.golden_checks.pictures import Picture, Recorded, check_golden_file, find_golden, record
from advantageflow.rewards.base import Reward
from advantageflow.rewards.jpeg import JpegReward
from advantageflow.rewards.plumbing.terms import term_rewards
from advantageflow.settings import RewardSettings, RewardTerm

SCORES = {"dark": {"mean": 0.2, "fixed": 0.5}, "light": {"mean": 0.8, "fixed": 0.5}}
Make = Callable[..., Reward]


RECORDED = Recorded(version="2", scores=SCORES, tolerance={"mean": 0.01, "fixed": 0.01})


def test_a_sound_reward_passes_and_unreadable_prompts_do_not_count(brightness: Make, pictures: list[Picture]) -> None:
    assert check_reward(brightness(), pictures, RECORDED, ["mean"]) == 2
    assert (
        check_reward(brightness(lambda mean, batch: mean + 0.009), pictures, RECORDED, ["mean"]) == 2
    )  # within the tolerance


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda mean, batch: 0.3, r"gave mean = 0\.3 for all 2 golden pictures"),
        (lambda mean, batch: 0.0, r"gave mean = 0 for all 2 golden pictures"),
        (lambda mean, batch: float("nan"), r"gave mean = nan, outside its declared range"),
        (lambda mean, batch: mean * 2, r"gave mean = 1\.6, outside its declared range"),
        (lambda mean, batch: 1 / 0, r"failed: ZeroDivisionError"),
        (lambda mean, batch: 1 - mean, r"mean = 0\.8 for golden picture 'dark', outside 0\.2 \+- 0\.01, .* version 2"),
    ],
)
def test_a_broken_reward_is_stopped_by_name(
    brightness: Make, pictures: list[Picture], value: Callable[[float, int], float], words: str
) -> None:
    with pytest.raises(RewardError, match=words) as caught:
        check_reward(brightness(value), pictures, RECORDED, ["mean"])
    assert "reward 'brightness' 3" in caught.value.where
    assert caught.value.remedy


def test_a_constant_that_nothing_trains_on_is_no_fault_and_one_that_it_trains_on_is(
    brightness: Make, pictures: list[Picture]
) -> None:
    with pytest.raises(RewardError, match=r"gave fixed = 0\.5 for all"):
        check_reward(brightness(), pictures, RECORDED, ["mean", "fixed"])


def test_without_recorded_scores_the_rest_is_still_checked(brightness: Make, pictures: list[Picture]) -> None:
    assert check_reward(brightness(lambda mean, batch: 1 - mean), pictures, None, ["mean"]) == 2
    with pytest.raises(RewardError, match="for all 2 golden pictures"):
        check_reward(brightness(lambda mean, batch: 0.3), pictures, None, ["mean"])


def test_a_check_that_fails_is_an_error_and_no_refusal(
    brightness: Make, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = brightness()
    monkeypatch.setattr(reward, "check", lambda prompt: 1 / 0, raising=False)
    with pytest.raises(RewardError, match=r"check\(\) failed for prompt 'grey': ZeroDivisionError"):
        check_reward(reward, pictures, RECORDED, ["mean"])


def test_a_recorded_picture_that_can_no_longer_be_read_is_an_error(brightness: Make, pictures: list[Picture]) -> None:
    recorded = {**SCORES, "other": {"mean": 0.0, "fixed": 0.5}}
    with pytest.raises(RewardError, match="golden picture 'other' is recorded, but it can no longer read"):
        check_reward(brightness(), pictures, RECORDED.model_copy(update={"scores": recorded}), ["mean"])


def test_a_column_that_was_not_recorded_is_an_error(brightness: Make, pictures: list[Picture]) -> None:
    with pytest.raises(RewardError, match="no score of column 'fixed' is recorded"):
        check_reward(brightness(), pictures, RECORDED.model_copy(update={"tolerance": {"mean": 1.0}}), ["mean"])


def test_the_rewards_of_a_run_pass_with_their_shipped_scores() -> None:
    others = (RewardTerm(name="jpeg", column="compressibility"), RewardTerm(name="layout", column="beauty"))
    settings = RewardSettings(others=others)
    metrics = check_rewards(settings, term_rewards(settings))
    counts = {name: metrics[f"golden_check/{name}/pictures"] for name in ("shapes", "jpeg", "layout")}
    assert counts == {"shapes": 9, "jpeg": 13, "layout": 13}
    assert not any(value for name, value in metrics.items() if name.startswith("alarm/"))


def test_a_shipped_reward_whose_scores_drift_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advantageflow.rewards.jpeg.QUALITY", 90)
    settings = RewardSettings(name="jpeg", column="compressibility")
    with pytest.raises(RewardError, match="as recorded with version 1") as caught:
        check_rewards(settings, term_rewards(settings))
    assert "golden check of reward 'jpeg'" in caught.value.where


def test_a_reward_that_can_read_no_golden_prompt_raises_an_alarm(
    brightness: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(prompt: object) -> None:
        raise DataError("not for me")

    reward = brightness()
    monkeypatch.setattr(reward, "check", refuse, raising=False)
    with caplog.at_level(logging.WARNING):
        metrics = check_rewards(RewardSettings(name="mine", column="mean"), {"mine": reward})
    assert (metrics["golden_check/mine/pictures"], metrics["alarm/mine_no_golden_check"]) == (0, 1)
    assert "reward 'mine' is unchecked" in caplog.text


def test_recorded_scores_of_one_s_own_are_used_with_their_pictures(
    brightness: Make, pictures: list[Picture], tmp_path: Path
) -> None:
    reward, file = brightness(), tmp_path / "golden.json"
    results = reward.score([one.prompt for one in pictures], [one.image for one in pictures])
    record(file, reward, "mine", {}, pictures[:2], results[:2], tolerance=0.02, with_pictures=True)
    record(file, JpegReward(), "jpeg", {}, pictures[:2], JpegReward().score([one.prompt for one in pictures[:2]],
           [one.image for one in pictures[:2]]), tolerance=0.02, with_pictures=False)  # fmt: skip
    found, recorded = find_golden("mine", file)
    assert [one.name for one in found] == ["dark", "light"]
    assert (found[0].image == pictures[0].image).all()
    assert recorded
    assert recorded.tolerance == pytest.approx({"mean": 0.02 * 0.6, "fixed": 1e-6})
    settings = RewardSettings(name="mine", column="mean", golden=str(file))
    assert check_rewards(settings, {"mine": reward})["golden_check/mine/pictures"] == 2
    with pytest.raises(RewardError, match="golden picture 'dark', outside"):
        check_rewards(settings, {"mine": brightness(lambda mean, batch: mean + 0.1)})


def entry(**changes: Any) -> dict[str, Any]:
    return {"version": "1", "tolerance": {"mean": 0.1}, "scores": {"a": {"mean": 0.5}}, **changes}


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"other": entry()}, SettingsError, r"none of the run's rewards \(mine\)"),
        ({"mine": entry(scores={})}, DataError, "scores: "),
        ({"mine": entry(tolerance={"mean": "wide"})}, DataError, "tolerance.mean: "),
        ({"mine": entry(pictures={"a": {"image": "!", "text": "a"}})}, DataError, "not base64"),
        ({"mine": entry(pictures={"a": {"image": "aaaa", "text": "a"}})}, DataError, "cannot be decoded"),
        ([], DataError, "a JSON object was expected"),
    ],
)
def test_a_file_of_recorded_scores_that_is_wrong_is_refused(
    tmp_path: Path, content: Any, error: type[Exception], words: str
) -> None:
    file = tmp_path / "golden.json"
    file.write_text(json.dumps(content))
    with pytest.raises(error, match=words):
        check_golden_file(file, ["mine"])


def test_a_file_of_recorded_scores_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file not found"):
        check_golden_file(tmp_path / "none.json", ["mine"])
