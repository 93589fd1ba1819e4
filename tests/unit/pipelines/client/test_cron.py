"""Cron expressions and intervals: what Kubeflow takes, and what is said of the rest."""

from __future__ import annotations

import pytest

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.schedules import When, by_cron, by_interval


def test_spaces_do_not_matter() -> None:
    assert str(by_cron("  0  0 3 * *   1 ")) == "cron 0 0 3 * * 1 (UTC)"


@pytest.mark.parametrize(
    ("expression", "words", "remedy"),
    [
        ("0 3 * * 1", "five fields", "'0 0 3 * * 1'"),
        ("", "0 fields", "second minute"),
        ("@daily", "1 fields", "second minute"),
        ("0 0 0 0 0 0 0", "7 fields", "second minute"),
    ],
)
def test_another_number_of_fields_is_refused(expression: str, words: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match="--cron") as raised:
        by_cron(expression)
    assert words in str(raised.value)
    assert remedy in raised.value.remedy


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("90m", 5400), ("6h", 21_600), ("7d", 604_800)])
def test_an_interval_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert by_interval(text) == When(seconds=seconds)
    assert str(by_interval(text)) == f"every {text}"


@pytest.mark.parametrize("text", ["", "6", "h", "0h", "-1h", "1.5h", "1w", "1h30m"])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not an interval"):
        by_interval(text)
