"""Figures of variants from results of runs, comparison.json, and the tables."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.comparison import (
    CellResult,
    Comparison,
    all_seconds,
    final,
    useful_seconds,
    write_comparison,
)
from advantageflow_experiments.compare.statistics import Estimate
from advantageflow_experiments.compare.table import overall_table, show_table, tasks_table, write_tables

from .conftest import result


def mean(found: Estimate | None) -> float:
    assert found is not None
    return found.mean


TARGET = (
    "title: x\npreset: tiny\nseeds: [0, 1]\ntarget: 0.45\n"
    "variants: {a: {}, b: {assignments: {training.inner_epochs: 2}}}"
)


def test_the_difference_is_to_the_first_variant_and_paired(lines: Comparison) -> None:
    assert lines.against("slow", final) is None
    assert mean(lines.over("slow", final)) == pytest.approx(0.32 + 0.2)
    assert mean(lines.against("fast", final)) == pytest.approx((0.2 + 0.1 + 0.2) / 3)
    assert lines.images == 48


def test_the_differences_of_a_grid_are_to_the_first_of_the_row(grid: Comparison) -> None:
    differences = {name: grid.against(name, final) for name in grid.labels}
    assert {name: one and one.mean for name, one in differences.items()} == {
        "lam-0.5_one": None,
        "lam-1_one": pytest.approx(0.0),
        "lam-0.5_two": None,
        "lam-1_two": pytest.approx(0.1),
    }
    assert "| against lam 0.5 of the row |" in overall_table(grid)


def test_a_diverged_run_counts_with_its_last_evaluation_and_its_times_are_left_out(lines: Comparison) -> None:
    assert lines.diverged("fast") == {1: 2}
    ended = lines.over("fast", final)
    assert ended is not None
    assert (ended.mean, ended.seeds) == (pytest.approx((0.7 + 0.62 + 0.74) / 3), 3)
    assert lines.over("fast", useful_seconds) == (10.0, (10.0, 10.0), 2)
    assert [point.x for point in lines.curve("fast", "by_images")] == [0, 24, 48]


def test_the_mean_over_a_run_is_the_area_under_its_curve_to_the_end_of_complete_ones(lines: Comparison) -> None:
    assert mean(lines.over("slow", lines.course)) == pytest.approx(0.32 + 0.1)
    assert mean(lines.against("fast", lines.course)) == pytest.approx((0.15 + 0.125 + 0.15) / 3)


def test_a_variant_of_which_all_runs_diverged_has_no_times(grid: Comparison) -> None:
    assert [name for name in grid.labels if grid.diverged(name)] == ["lam-0.5_two"]
    assert grid.over("lam-0.5_two", all_seconds) is None
    assert mean(grid.over("lam-0.5_two", final)) == 0.4


def test_the_target_tells_how_many_images_it_took(make: Callable[..., Comparison]) -> None:
    def run(cell: Cell) -> CellResult:
        return result(cell, [0.4, 0.5 if cell.variant == "a" else 0.44 + cell.seed * 0.05])

    found = make(TARGET, run)
    first, second = (found.over(name, found.images_to_target) for name in "ab")
    assert first is not None
    assert second is not None
    assert (first.seeds, first.mean, second.seeds) == (2, pytest.approx(12), 1)
    assert mean(found.against("b", found.images_to_target)) == pytest.approx(12 / 9), (
        "of the seed that reaches it in both"
    )
    table = overall_table(found)
    assert "images to 0.45" in table.splitlines()[0]
    assert "seconds to 0.45" in table.splitlines()[0]
    assert found.seconds_to_target(found.cells[0]) == pytest.approx(found.cells[0].by_seconds[1][0] / 2)
    assert "13, 1 of 2 never | +1" in table


def test_what_was_not_trained_on_is_compared_at_the_end_and_at_equal_reward(
    untrained: Comparison, tmp_path: Path
) -> None:
    assert untrained.common_reward == pytest.approx(0.6), "the end of 'slow'"
    at_reward = untrained.at_common_reward("diversity")
    assert mean(untrained.over("fast", at_reward)) == pytest.approx(0.75), "half of the way"
    assert mean(untrained.against("fast", at_reward)) == pytest.approx(-0.05)
    write_tables(tmp_path / "table.md", untrained)
    text = (tmp_path / "table.md").read_text()
    assert "| the fast way | 0.410 ± 0.025 (+0.000 ± 0.000) | 0.600 ± 0.000 (-0.200 ± 0.000) |" in text
    assert "At equal reward (0.600, " in text


def test_runs_that_did_not_start_from_the_same_base_are_told(lines: Comparison, tmp_path: Path) -> None:
    assert lines.uneven_starts() is None
    cell = lines.cells[3]
    base = cell.points[0].model_copy(update={"strict": 0.33})
    moved = cell.model_copy(update={"points": (base, *cell.points[1:])})
    other = lines.model_copy(update={"cells": (*lines.cells[:3], moved, *lines.cells[4:])})
    told = other.uneven_starts()
    assert told is not None
    assert "seed 1: 0.3200 in slow, 0.3300 in fast" in told
    assert "seed 0" not in told
    write_tables(tmp_path / "table.md", other)
    assert told in (tmp_path / "table.md").read_text()


def test_a_comparison_is_read_back_as_it_was_written(
    lines: Comparison, grid: Comparison, pareto: Comparison, tmp_path: Path
) -> None:
    for comparison in (lines, grid, pareto):
        write_comparison(tmp_path / "comparison.json", comparison)
        assert Comparison.model_validate_json((tmp_path / "comparison.json").read_text()) == comparison


def test_the_tables_have_intervals_differences_and_divergence(lines: Comparison, tmp_path: Path) -> None:
    rows = {row.split("|")[1].strip(): row for row in overall_table(lines).splitlines()}
    assert "0.520 ± 0.050" in rows["the slow way"]
    assert "+0.167 ± 0.143" in rows["the fast way"]
    assert "seed 1 in round 2" in rows["the fast way"]
    assert "0.420 ± 0.050" in rows["the slow way"]
    assert "+0.142 ± 0.036" in rows["the fast way"]
    assert "base model | 0.320" in tasks_table(lines)
    write_tables(tmp_path / "table.md", lines)
    text = (tmp_path / "table.md").read_text()
    for words in ("# Two ways", "counts with its last evaluation", "- all: `rounds=2`", "`training.objective.lam=1`",
                  "torch ", "Mean over the run"):  # fmt: skip
        assert words in text


def test_one_seed_has_no_intervals_and_the_table_says_how_sure_it_is(grid: Comparison, tmp_path: Path) -> None:
    write_tables(tmp_path / "table.md", grid)
    text = (tmp_path / "table.md").read_text()
    assert "One seed: the accuracy of a run is known to about ± 0.100" in text
    assert "0.500 ±" not in text
    assert "ean over the run" not in text, "points of a grid are no curves"


def test_the_terminal_shows_the_figures(lines: Comparison) -> None:
    out = io.StringIO()
    show_table(Console(file=out, width=80), lines)
    text = out.getvalue()
    for words in ("mean of 3 seeds", "0.520 ± 0.050", "+0.167 ± 0.143", "seed 1 in"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80
