"""Alarms of reward hacking: statistics of images and watched rewards held against the base's, and their bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from advantageflow.errors import DataError
from advantageflow.evaluation.pictures import Sample
from advantageflow.evaluation.plan import Shot, plan_images
from advantageflow.evaluation.report import read_statistics, write_report
from advantageflow.evaluation.reward_hacking import (
    Alarm,
    ImageStatistics,
    curves,
    hacking_metrics,
    statistic_alarms,
    watched_alarms,
)
from advantageflow.evaluation.statistics import Outcome
from advantageflow.rewards.plumbing.terms import watched_rewards
from advantageflow.settings import AlarmSettings, RewardSettings, RewardTerm
from advantageflow.shapes.prompts import all_prompts
from advantageflow.shapes.scenes import render, scene_for
from advantageflow.watch.images import STATISTICS

PROMPTS = [prompt for prompt in all_prompts() if prompt.split == "eval"][::20][:8]
SHOTS = plan_images(PROMPTS, 24, seed=0)
WATCHING = RewardSettings(watched=(RewardTerm(name="layout", column="beauty"),))
SAMPLES = [(Sample("id", "a circle", "colors", 0, 1.0, True), Image.new("RGB", (48, 48)))]
Draw = Callable[[Shot], np.ndarray]


def right(shot: Shot) -> np.ndarray:
    return render(scene_for(shot.prompt.spec, np.random.default_rng(shot.seed % 2**32)))


def right_in_another_place(shot: Shot) -> np.ndarray:
    return render(scene_for(shot.prompt.spec, np.random.default_rng(shot.seed % 2**32 + 1)))


def blank(shot: Shot) -> np.ndarray:
    return np.full((48, 48, 3), 243, dtype=np.uint8)


def collapsed(shot: Shot) -> np.ndarray:
    """One picture for each prompt, whatever the noise."""
    return render(scene_for(shot.prompt.spec, np.random.default_rng(7)))


def speckled(shot: Shot) -> np.ndarray:
    grain = np.random.default_rng(shot.seed % 2**32).integers(-60, 61, (48, 48, 3))
    return np.clip(right(shot) + grain, 0, 255).astype(np.uint8)


def judge(draw: Draw, shots: Sequence[Shot]) -> tuple[list[dict[str, Any]], list[Outcome]]:
    """Statistics and outcomes; beauty is what is not background."""
    statistics, outcomes = ImageStatistics(), []
    for shot in shots:
        picture = draw(shot)
        statistics.add(shot, picture, velocity_norm=1.25)
        terms = {"layout.beauty": float((picture < 200).any(-1).mean()), "a.b": 0.0}
        outcomes.append(Outcome(shot.prompt.prompt_id, shot.prompt.task, shot.repetition, shot.seed, 1.0, 1.0, terms))
    return statistics.rows, outcomes


@pytest.fixture
def against(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], list[Alarm]]]:
    """Holds pictures against a base that draws what the prompts ask for."""
    rows, outcomes = judge(right, SHOTS)
    write_report(tmp_path / "base", {"round": 0}, outcomes, SAMPLES, rows)

    def against(draw: Draw, shots: Sequence[Shot] = SHOTS) -> tuple[dict[str, Any], list[Alarm]]:
        rows, outcomes = judge(draw, shots)
        rewards = watched_rewards(WATCHING, {})
        return hacking_metrics(rows, outcomes, WATCHING, rewards, AlarmSettings(), tmp_path / "base")

    return against


def names(found: tuple[dict[str, Any], list[Alarm]]) -> set[str]:
    return {alarm.name for alarm in found[1]}


def test_pictures_that_answer_as_the_base_s_do_raise_no_alarm(against: Any) -> None:
    for draw in (right, right_in_another_place):
        metrics, alarms = against(draw)
        assert (alarms, metrics["alarms"]) == ([], [])
        assert set(metrics["statistics"]) == set(STATISTICS)


def test_blank_pictures_raise_alarms_of_colour_sharpness_diversity_and_what_is_watched(against: Any) -> None:
    assert names(against(blank)) == {"colour_entropy_drop", "sharpness_drop", "diversity_drop", "watched/layout.beauty"}


def test_one_picture_a_prompt_raises_the_alarm_of_diversity_alone(against: Any) -> None:
    assert names(against(collapsed)) == {"diversity_drop"}


def test_grain_raises_the_alarm_of_sharpness(against: Any) -> None:
    assert "sharpness_rise" in names(against(speckled))


def test_fewer_images_are_held_against_the_base_s_same_ones(against: Any) -> None:
    metrics, alarms = against(right, SHOTS[:10])
    assert alarms == []
    for one in metrics["statistics"].values():
        assert one["mean"] == pytest.approx(one["base"])


def test_images_that_the_base_has_none_of_cannot_be_compared(against: Any) -> None:
    with pytest.raises(DataError, match="none of the images"):
        against(right, plan_images(PROMPTS, 6, seed=1))


def test_metrics_say_what_the_alarms_do_and_curves_have_those_that_are_raised(against: Any) -> None:
    metrics, alarms = against(blank)
    assert [entry["message"] for entry in metrics["alarms"]] == [alarm.message for alarm in alarms]
    drawn = curves({**metrics, "watched": {"layout.beauty": {"mean": 0.0}}})
    assert drawn["alarm/sharpness_drop"] == drawn["alarm/watched/layout.beauty"] == 1.0
    assert "alarm/dark_fraction_rise" not in drawn
    assert drawn["image/sharpness"] == 0.0


def test_the_base_itself_has_statistics_and_neither_alarms_nor_their_curves(tmp_path: Path) -> None:
    rows, outcomes = judge(right, SHOTS)
    metrics, alarms = hacking_metrics(rows, outcomes, WATCHING, {}, AlarmSettings(), None)
    assert alarms == []
    assert not any(name.startswith("alarm/") for name in curves({**metrics, "watched": {}}))


def test_statistics_are_kept_with_the_report_nan_where_a_prompt_has_no_image_before(tmp_path: Path) -> None:
    rows, outcomes = judge(right, SHOTS)
    write_report(tmp_path / "report", {"round": 0}, outcomes, SAMPLES, rows)
    kept = read_statistics(tmp_path / "report")
    assert [row["seed"] for row in kept] == [shot.seed for shot in SHOTS]
    undefined = [bool(np.isnan(row["diversity"])) for row in kept]
    assert undefined == [shot.repetition == 0 for shot in SHOTS]


BASE = {
    "dark_fraction": 0.05,
    "saturated_fraction": 0.1,
    "colour_entropy": 2.0,
    "sharpness": 0.03,
    "velocity_norm": 1.2,
    "diversity": 0.2,
}
BOUNDS = AlarmSettings()


def alarms(now: dict[str, float], bounds: AlarmSettings = BOUNDS) -> list[Alarm]:
    return statistic_alarms(bounds, {**BASE, **now}, BASE)


def watched(
    mean: float, *, higher_is_better: bool = True, minimum: float | None = None, std: float = 0.2
) -> list[Alarm]:
    then = [0.5 - std, 0.5 + std]
    return watched_alarms("beauty.score", [mean], then, higher_is_better, minimum, BOUNDS.watched_drop)


@pytest.mark.parametrize(
    ("name", "value", "raised"),
    [
        ("dark_fraction", 0.3, "dark_fraction_rise"),
        ("saturated_fraction", 0.4, "saturated_fraction_rise"),
        ("colour_entropy", 1.0, "colour_entropy_drop"),
        ("sharpness", 0.01, "sharpness_drop"),
        ("sharpness", 0.07, "sharpness_rise"),
        ("diversity", 0.05, "diversity_drop"),
        ("velocity_norm", 0.8, "velocity_norm_drop"),
        ("velocity_norm", 1.6, "velocity_norm_rise"),
    ],
)
def test_a_move_beyond_its_bound_raises_its_alarm_alone(name: str, value: float, raised: str) -> None:
    (alarm,) = alarms({name: value})
    assert (alarm.name, alarm.value, alarm.base) == (raised, value, BASE[name])
    assert alarm.change > alarm.bound
    assert name.replace("_", " ") in alarm.message
    assert f"{value:.3g}" in alarm.message


def test_nothing_moved_and_moves_for_the_better_raise_none() -> None:
    assert alarms({}) == []
    better = {"dark_fraction": 0.0, "saturated_fraction": 0.0, "colour_entropy": 9.0, "diversity": 0.9}
    assert alarms(better) == []


@given(st.sampled_from(sorted(BASE)), st.floats(0, 0.999))
def test_a_move_within_its_bound_raises_none(name: str, part: float) -> None:
    lower = BASE[name] * (1 - part * getattr(BOUNDS, f"{name}_drop", 1))
    rise = getattr(BOUNDS, f"{name}_rise", 0)
    higher = BASE[name] + part * rise * (1 if name.endswith("fraction") else BASE[name])
    assert alarms({name: lower}) == alarms({name: higher}) == []


def test_a_bound_can_be_moved_or_switched_off() -> None:
    assert alarms({"sharpness": 0.0}, AlarmSettings(sharpness_drop=None)) == []
    assert alarms({"sharpness": 0.026}, AlarmSettings(sharpness_drop=0.1))
    with pytest.raises(ValidationError, match="sharpness_drop"):
        AlarmSettings(sharpness_drop=0)


def test_any_rise_from_a_base_of_zero_is_beyond_every_bound() -> None:
    (alarm,) = statistic_alarms(BOUNDS, {"sharpness": 0.1}, {"sharpness": 0.0})
    assert alarm.name == "sharpness_rise"
    assert statistic_alarms(BOUNDS, {"sharpness": 0.0}, {"sharpness": 0.0}) == []


def test_a_watched_reward_is_measured_in_standard_deviations_of_the_base_in_its_own_direction() -> None:
    assert watched(0.45) == watched(0.9) == watched(0.55, higher_is_better=False) == []
    (alarm,) = watched(0.35)
    assert (alarm.name, alarm.change) == ("watched/beauty.score", pytest.approx(0.75))
    assert "0.75 standard deviations worse" in alarm.message
    assert watched(0.65, higher_is_better=False)
    assert watched(0.35, higher_is_better=False) == []


def test_a_watched_reward_beyond_its_minimum_raises_an_alarm_however_little_it_moved() -> None:
    assert watched(0.49, minimum=0.48) == []
    (alarm,) = watched(0.47, minimum=0.48)
    assert "beyond its minimum 0.48" in alarm.message
    assert watched(0.53, higher_is_better=False, minimum=0.52)


def test_a_statistic_that_was_not_measured_has_no_alarm() -> None:
    less = {name: value for name, value in BASE.items() if name != "diversity"}
    assert statistic_alarms(BOUNDS, less, BASE) == []
