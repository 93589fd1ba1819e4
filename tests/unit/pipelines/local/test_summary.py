"""What a run came to: its overhead, its summary without what varies, the table."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from advantageflow_pipelines.local.summary import reported, show_summary
from advantageflow_pipelines.local.workdir import WorkDir


@pytest.mark.parametrize(("held_out", "said"), [(9, True), (6, False)])
def test_prompts_that_no_image_judges_are_said_to_be_left_out(tmp_path: Any, held_out: int, said: bool) -> None:
    part = reported(
        {"images": 6, "prompts": 6, "held_out_prompts": held_out, "strict": 0.5, "strict_ci95": [0.4, 0.6],
         "soft": 0.5, "tasks": {"colors": 0.5}, "strict_column": "strict", "soft_column": "soft"}
    )  # fmt: skip
    cost = {"seconds": 1.0, "between_tasks": 1.0, "of_seconds": 9.0, "share": 0.2, "stages": {}}
    change = {"strict": 0.0, "strict_ci95": [0.0, 0.0]}
    out = io.StringIO()
    summary = {"base": part, "final": part, "difference": change, "seconds": 9.0, "overhead": cost}
    show_summary(Console(file=out, width=120), WorkDir(tmp_path), summary)
    assert ("judged: 6 of the 9 held-out prompts" in out.getvalue()) == said


def test_the_table_shows_each_task_the_mean_with_intervals_and_the_time(tmp_path: Any) -> None:
    base = {"images": 60, "strict": 0.25, "strict_ci95": [0.2, 0.3], "soft": 0.5, "tasks": {"colors": 0.25}}
    final = {**base, "strict": 0.5, "strict_ci95": [0.4, 0.6], "tasks": {"colors": 0.5}}
    cost = {"seconds": 12.0, "between_tasks": 3.0, "of_seconds": 100.0, "share": 0.15, "stages": {}}
    summary = {"base": base, "final": final, "seconds": 100.2, "overhead": cost, "policy_url": "s3://b/policies/round-2",
               "difference": {"strict": 0.25, "strict_ci95": [0.1, 0.4]}}  # fmt: skip
    out = io.StringIO()
    show_summary(Console(file=out, width=120), WorkDir(tmp_path), summary)
    text = out.getvalue()
    assert "60 held-out images" in text
    assert "policy:   s3://b/policies/round-2\n" in text
    for row in ("colors", "mean of tasks"):
        line = next(line for line in text.splitlines() if row in line)
        assert [word for word in line.split() if word[-1].isdigit()] == ["0.250", "0.500", "+0.250"]
    assert "0.400 .. 0.600" in text
    assert "0.100 .. 0.400" in text
    assert "100 s, 15% of it overhead: 12.0 s from process starts to useful work, 3.0 s between tasks" in text
    assert str(tmp_path / "report") in text


def test_the_time_of_a_continued_run_says_which_part_was_measured(tmp_path: Any) -> None:
    part = {"images": 6, "strict": 0.0, "strict_ci95": [0.0, 0.0], "soft": 0.0, "tasks": {}}
    cost = {"seconds": 1.0, "between_tasks": 1.0, "of_seconds": 40.0, "share": 0.05, "stages": {}}
    summary = {"base": part, "final": part, "difference": part, "seconds": 100.0, "overhead": cost}
    out = io.StringIO()
    show_summary(Console(file=out, width=120), WorkDir(tmp_path), summary)
    assert "100 s, the last attempt 40 s, 5% of it overhead" in out.getvalue()


def test_the_table_names_the_column_that_is_shown_and_lists_the_terms(tmp_path: Any) -> None:
    base = {"images": 60, "strict": -1.5, "strict_ci95": [-1.6, -1.4], "soft": -1.5, "tasks": {"colors": -1.5},
            "strict_column": "compressibility", "soft_column": "compressibility",
            "terms": {"jpeg.compressibility": {"mean": -1.5}, "layout.beauty": {"mean": 0.25}}}  # fmt: skip
    final = {**base, "strict": -1.0, "tasks": {"colors": -1.0},
             "terms": {"jpeg.compressibility": {"mean": -1.0}, "layout.beauty": {"mean": 0.5}}}  # fmt: skip
    cost = {"seconds": 12.0, "between_tasks": 3.0, "of_seconds": 100.0, "share": 0.15, "stages": {}}
    summary = {"base": base, "final": final, "seconds": 100.2, "overhead": cost, "policy_url": "s3://b/policies/round-2",
               "difference": {"strict": 0.5, "strict_ci95": [0.4, 0.6]}}  # fmt: skip
    out = io.StringIO()
    show_summary(Console(file=out, width=120), WorkDir(tmp_path), summary)
    text = out.getvalue()
    assert "compressibility on 60 held-out images" in text
    assert "strict" not in text
    line = next(line for line in text.splitlines() if "layout.beauty" in line)
    assert [word for word in line.split() if word[-1].isdigit()] == ["0.250", "0.500", "+0.250"]


def test_a_summary_repeats_terms_and_columns_only_where_they_are_not_the_usual_ones() -> None:
    usual = {"images": 6, "strict": 0.5, "soft": 0.5, "strict_column": "strict", "soft_column": "soft",
             "terms": {"shapes.soft": {"mean": 0.5}}}  # fmt: skip
    assert reported(usual) == {"images": 6, "strict": 0.5, "soft": 0.5}
    several = {**usual, "terms": {**usual["terms"], "layout.beauty": {"mean": 0.25}}}  # type: ignore[dict-item]
    assert reported(several)["terms"] == several["terms"]
    assert "strict_column" not in reported(several)
    other = reported({**usual, "strict_column": "beauty", "soft_column": "beauty"})
    assert (other["strict_column"], other["soft_column"]) == ("beauty", "beauty")


def test_a_run_that_goes_on_from_a_policy_is_shown_beside_it_and_beside_the_base(tmp_path: Any) -> None:
    base, start, final = (
        {"images": 60, "strict": value, "strict_ci95": [0, 1], "soft": 0, "tasks": {"colors": value}}
        for value in (0.25, 0.5, 0.625)
    )
    cost = {"seconds": 1.0, "between_tasks": 1.0, "of_seconds": 9.0, "share": 0.2, "stages": {}}
    changes = {"difference": {"strict": 0.125, "strict_ci95": [0.0, 0.25]},
               "difference_to_base": {"strict": 0.375, "strict_ci95": [0.25, 0.5]}}  # fmt: skip
    summary = {"base": base, "start": start, "final": final, "seconds": 9.0, "overhead": cost, **changes}
    out = io.StringIO()
    show_summary(Console(file=out, width=120), WorkDir(tmp_path), summary)
    for row in ("colors", "mean of tasks"):
        line = next(line for line in out.getvalue().splitlines() if row in line)
        assert [word for word in line.split() if word[-1].isdigit()] == ["0.250", "0.500", "0.625", "+0.125"]
    assert "change from the base: +0.375 (0.250 .. 0.500)" in out.getvalue()
