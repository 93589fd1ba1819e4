"""What a working folder says of its run: complete, diverged, or not at its end."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from advantageflow.errors import DataError, PolicyError, StoreError, TrainingError, UserError
from advantageflow.evaluation.pictures import Sample
from advantageflow.policy.divergence import REMEDY
from advantageflow.settings import RewardSettings
from advantageflow.store.files import write_json
from advantageflow.tracking.events import JOURNAL_ENV
from advantageflow.tracking.journal import stage_journal
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.folder import read_result
from advantageflow_pipelines.local.summary import SHOWN
from advantageflow_pipelines.local.workdir import WorkDir, attempt, create_workdir

DIVERGED = TrainingError("training diverged: loss not finite", where="round 2, optimiser step 1 of 1", remedy="less")
NOT_FINITE = PolicyError("its latent is not finite", where="'a red circle', image 0", remedy=REMEDY)


@pytest.fixture
def workdir(cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkDir:
    """Of a run whose base and first round have been evaluated."""
    workdir = create_workdir(tmp_path / "run", cells[0].settings)
    monkeypatch.setenv(JOURNAL_ENV, str(workdir.journal))
    with attempt(workdir):
        for number, strict in ((0, 0.25), (1, 0.5)):
            evaluated(workdir, number, strict)
        with stage_journal("training", 1) as journal:
            journal.useful()
    return workdir


def evaluated(workdir: WorkDir, number: int, strict: float) -> None:
    folder = workdir.artifacts / "online-1" / f"evaluation-{number}" / "report"
    folder.mkdir(parents=True)
    metrics: dict[str, Any] = {"round": number, "images": 12, "strict": strict, "strict_ci95": [0.0, 1.0],
                               "soft": 0.6, "tasks": {"colors": strict}, "prompts": 6}  # fmt: skip
    write_json(folder / "metrics.json", metrics)


def fail(error: UserError, stage: str = "training", number: int = 2) -> None:
    with pytest.raises(type(error)), stage_journal(stage, number):
        raise error


def test_a_run_that_has_not_ended_has_no_result(workdir: WorkDir, cells: list[Cell]) -> None:
    assert read_result(workdir, cells[0]) is None


@pytest.mark.parametrize(("error", "stage"), [(DIVERGED, "training"), (NOT_FINITE, "rollout")])
def test_a_diverged_run_is_a_result_with_what_it_reached(
    workdir: WorkDir, cells: list[Cell], error: UserError, stage: str
) -> None:
    fail(error, stage)
    found = read_result(workdir, cells[0])
    assert found is not None
    assert found.diverged_round == 2
    assert [(point.round, point.generated, point.strict) for point in found.points] == [(0, 0, 0.25), (1, 24, 0.5)]
    assert error.message in found.reason
    assert found.seconds > 0


def test_the_evaluation_of_a_policy_that_is_not_finite_is_no_result(workdir: WorkDir, cells: list[Cell]) -> None:
    fail(NOT_FINITE, "evaluation", 1)
    found = read_result(workdir, cells[0])
    assert found is not None
    assert [point.round for point in found.points] == [0]


@pytest.mark.parametrize("error", [StoreError("the disk is full"), PolicyError("no such folder", remedy="give one")])
def test_any_other_failure_is_not_taken_for_divergence(workdir: WorkDir, cells: list[Cell], error: UserError) -> None:
    fail(error)
    assert read_result(workdir, cells[0]) is None


def test_a_run_that_was_continued_since_is_judged_anew(workdir: WorkDir, cells: list[Cell]) -> None:
    fail(DIVERGED)
    with stage_journal("training", 2):
        pass
    assert read_result(workdir, cells[0]) is None


def test_a_complete_run_has_the_points_of_its_summary(workdir: WorkDir, cells: list[Cell]) -> None:
    part = {"images": 12, "strict": 0.25, "strict_ci95": [0.1, 0.4], "soft": 0.5, "tasks": {"colors": 0.25}}
    terms = {"jpeg.size": {"mean": 2.0, "ci95": [1.0, 3.0], "reward": "jpeg", "column": "size",
                           "higher_is_better": False}}  # fmt: skip
    entry = {**part, "round": 2, "generated": 48, "training_seconds": 3.5, "strict": 0.75, "terms": terms}
    write_json(workdir.summary_file, {**dict.fromkeys(SHOWN), "base": part, "rounds": [entry], "seconds": 60.0})
    found = read_result(workdir, cells[0])
    assert found is not None
    assert (found.diverged_round, found.seconds) == (None, 60.0)
    assert [(point.round, point.strict, point.training_seconds) for point in found.points] == [
        (0, 0.25, 0.0),
        (2, 0.75, 3.5),
    ]
    assert not found.last.terms["jpeg.size"].higher_is_better


def test_where_rewards_are_watched_a_run_has_its_images_statistics_and_its_distance_from_the_base(
    workdir: WorkDir, cells: list[Cell]
) -> None:
    watching = RewardSettings(watched=({"name": "layout", "column": "beauty"},))
    cell = replace(cells[0], settings=cells[0].settings.model_copy(update={"reward": watching}))
    for number, brightness in ((0, 0), (1, 51)):
        report = workdir.artifacts / "online-1" / f"evaluation-{number}" / "report"
        (report / "samples").mkdir()
        Image.new("RGB", (48, 48), (brightness,) * 3).save(report / "samples" / "00.png")
        sample = Sample("p", "a red circle", "colors", 0, 0.5, correct=True)
        write_json(report / "samples.json", {"samples": [asdict(sample)]})
        metrics = json.loads((report / "metrics.json").read_text())
        write_json(report / "metrics.json", metrics | {"statistics": {"diversity": {"mean": 0.3}}})
    fail(DIVERGED)
    found = read_result(workdir, cell)
    assert found is not None
    apart = [point.statistics["distance from the base"] for point in found.points]
    assert apart == [0.0, pytest.approx(0.2)], "a fifth of the range"
    assert found.last.untrained["diversity"] == 0.3


def test_a_base_that_cannot_even_be_evaluated_is_an_error(cells: list[Cell], tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    workdir = create_workdir(tmp_path / "run", cells[0].settings)
    monkeypatch.setenv(JOURNAL_ENV, str(workdir.journal))
    fail(NOT_FINITE, "evaluation", 0)
    with pytest.raises(DataError, match="slow-seed0 cannot even be evaluated"):
        read_result(workdir, cells[0])
