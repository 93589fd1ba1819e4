"""Cron expressions and intervals: what Kubeflow takes, and what is said of the rest."""

from __future__ import annotations

import pytest

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.cron import check_cron, interval_seconds, interval_text


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 3 * * mon",
        "0 */15 * * * *",
        "0 0 9-17/2 ? * MON-FRI",
        "30 5,35 0 1,15 jan-jun *",
        "59 59 23 31 12 6",
        "0/20 * * * * ?",
    ],
)
def test_six_fields_are_taken(expression: str) -> None:
    assert check_cron(expression) == expression


def test_spaces_do_not_matter() -> None:
    assert check_cron("  0  0 3 * *   1 ") == "0 0 3 * * 1"


def test_five_fields_are_said_to_lack_the_seconds() -> None:
    with pytest.raises(SettingsError) as raised:
        check_cron("0 3 * * 1")
    assert "five fields" in str(raised.value)
    assert "'0 0 3 * * 1'" in raised.value.remedy


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "0 fields"),
        ("@daily", "1 fields"),
        ("0 0 0 0 0 0 0", "7 fields"),
        ("60 0 3 * * *", "'60' is not a valid second"),
        ("0 60 3 * * *", "'60' is not a valid minute"),
        ("0 0 3 0 * *", "'0' is not a valid day of month"),
        ("0 0 3 * 13 *", "'13' is not a valid month"),
        ("0 0 3 * * 7", "'7' is not a valid day of week"),
        ("0 0 3 * * montag", "'montag' is not a valid day of week"),
        ("0 0 3 mon * *", "'mon' is not a valid day of month"),
        ("0 0 5-3 * * *", "'5-3' is not a valid hour"),
        ("0 */0 * * * *", "'*/0' is not a valid minute"),
        ("0 0 3,, * * *", "'' is not a valid hour"),
        ("0 0 -3 * * *", "'-3' is not a valid hour"),
    ],
)
def test_a_wrong_field_is_named(expression: str, words: str) -> None:
    with pytest.raises(SettingsError, match="--cron") as raised:
        check_cron(expression)
    assert words in str(raised.value)


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("90m", 5400), ("6h", 21_600), ("7d", 604_800)])
def test_an_interval_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert interval_seconds(text) == seconds
    assert interval_text(seconds) == text


@pytest.mark.parametrize("text", ["", "6", "h", "0h", "-1h", "1.5h", "1w", "1h30m"])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no interval"):
        interval_seconds(text)
