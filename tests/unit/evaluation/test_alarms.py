"""Alarms: which moves raise one, which do not, and what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from advantageflow.evaluation.reward_hacking import Alarm, Watched, find_alarms
from advantageflow.settings import AlarmSettings

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
    return find_alarms(bounds, {**BASE, **now}, BASE, {})


def watched(
    mean: float, *, higher_is_better: bool = True, minimum: float | None = None, std: float = 0.2
) -> list[Alarm]:
    one = Watched(mean, 0.5, std, higher_is_better, minimum)
    return find_alarms(BOUNDS, BASE, BASE, {"beauty.score": one})


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
    (alarm,) = find_alarms(BOUNDS, {"sharpness": 0.1}, {"sharpness": 0.0}, {})
    assert alarm.name == "sharpness_rise"
    assert find_alarms(BOUNDS, {"sharpness": 0.0}, {"sharpness": 0.0}, {}) == []


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
    assert find_alarms(BOUNDS, less, BASE, {}) == []
