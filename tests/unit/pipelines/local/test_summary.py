"""What a run came to: its overhead, its summary without what is usual, the table."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from advantageflow_pipelines.local.summary import reported, show_summary
from advantageflow_pipelines.local.workdir import WorkDir

COST = {"seconds": 12.0, "between_tasks": 3.0, "of_seconds": 100.0, "share": 0.15, "stages": {}}


def part(strict: float, **more: Any) -> dict[str, Any]:
    """What an evaluation came to."""
    interval = [strict - 0.125, strict + 0.125]
    return {"images": 60, "strict": strict, "strict_ci95": interval, "soft": 0.5, "tasks": {"colors": strict}, **more}


def shown(folder: Path, **summary: Any) -> str:
    out = io.StringIO()
    summary = {"difference": part(0.25), "seconds": 100.2, "overhead": COST, **summary}
    show_summary(Console(file=out, width=120), WorkDir(folder), summary)
    return out.getvalue()


def numbers(text: str, row: str) -> list[str]:
    line = next(line for line in text.splitlines() if row in line)
    return [word for word in line.split() if word[-1].isdigit()]


@pytest.mark.parametrize(("held_out", "said"), [(9, True), (6, False)])
def test_prompts_that_no_image_judges_are_said_to_be_left_out(tmp_path: Path, held_out: int, said: bool) -> None:
    told = reported(part(0.5, prompts=6, held_out_prompts=held_out))
    assert ("judged: 6 of the 9 held-out prompts" in shown(tmp_path, base=told, final=told)) == said


def test_the_table_shows_each_task_the_mean_with_intervals_and_the_time(tmp_path: Path) -> None:
    text = shown(tmp_path, base=part(0.25), final=part(0.5), policy_url="s3://b/policies/round-2")
    assert "60 held-out images" in text
    assert "policy:   s3://b/policies/round-2\n" in text
    for row in ("colors", "mean of tasks"):
        assert numbers(text, row) == ["0.250", "0.500", "+0.250"]
    assert "0.375 .. 0.625" in text
    assert "0.125 .. 0.375" in text
    assert "100 s, 15% of it overhead: 12.0 s from process starts to useful work, 3.0 s between tasks" in text
    assert str(tmp_path / "report") in text


def test_a_run_that_goes_on_from_a_policy_is_shown_beside_it_and_beside_the_base(tmp_path: Path) -> None:
    parts = {"base": part(0.25), "start": part(0.5), "final": part(0.625), "difference": part(0.125)}
    text = shown(tmp_path, **parts, difference_to_base=part(0.375))
    for row in ("colors", "mean of tasks"):
        assert numbers(text, row) == ["0.250", "0.500", "0.625", "+0.125"]
    assert "change from the base: +0.375 (0.250 .. 0.500)" in text


def test_the_time_of_a_continued_run_says_which_part_was_measured(tmp_path: Path) -> None:
    text = shown(tmp_path, base=part(0), final=part(0), overhead={**COST, "of_seconds": 40.0, "share": 0.05})
    assert "100 s, the last attempt 40 s, 5% of it overhead" in text


def test_the_table_names_the_column_that_is_shown_and_lists_the_terms(tmp_path: Path) -> None:
    base, final = (
        part(strict, strict_column="compressibility", soft_column="compressibility",
             terms={"jpeg.compressibility": {"mean": strict}, "layout.beauty": {"mean": beauty}})
        for strict, beauty in ((-1.5, 0.25), (-1.0, 0.5))
    )  # fmt: skip
    text = shown(tmp_path, base=base, final=final)
    assert "compressibility on 60 held-out images" in text
    assert "strict" not in text
    assert numbers(text, "layout.beauty") == ["0.250", "0.500", "+0.250"]


def test_a_summary_repeats_terms_and_columns_only_where_they_are_not_the_usual_ones() -> None:
    usual = part(0.5, strict_column="strict", soft_column="soft", terms={"shapes.soft": {"mean": 0.5}})
    assert reported(usual) == part(0.5)
    several = usual | {"terms": {**usual["terms"], "layout.beauty": {"mean": 0.25}}}
    assert reported(several)["terms"] == several["terms"]
    assert "strict_column" not in reported(several)
    other = reported({**usual, "strict_column": "beauty", "soft_column": "beauty"})
    assert (other["strict_column"], other["soft_column"]) == ("beauty", "beauty")
