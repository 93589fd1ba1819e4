"""Runs side by side: settings that differ, what each came to, and paired differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.errors import SettingsError
from advantageflow.evaluation.pictures import Sample
from advantageflow.evaluation.report import write_report
from advantageflow.evaluation.statistics import Outcome
from advantageflow_pipelines.commands.runs import show_comparison
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.workdir import create_workdir
from advantageflow_pipelines.say import Console


def run(folder: Path, rate: float, *correct: int, first_seed: int = 0) -> Path:
    from PIL import Image

    settings = choose_settings(preset="shapes")
    training = settings.training.model_copy(update={"learning_rate": rate})
    workdir = create_workdir(folder, settings.model_copy(update={"training": training}))
    for number, right in enumerate(correct):
        outcomes = [Outcome(f"p{k}", "colors", 0, first_seed + k, float(k < right), 0.5) for k in range(8)]
        metrics = {
            "round": number,
            "strict": right / 8,
            "strict_ci95": [0, 1],
            "tasks": {"colors": right / 8},
            "images": 8,
        }
        out = workdir.artifacts / "online-1" / (f"evaluation-{number + 1}" if number else "evaluation") / "report"
        write_report(out, metrics, outcomes, [(Sample("p0", "a", "colors", 0, 0.5, True), Image.new("RGB", (8, 8)))])
    return folder


def shown(*folders: Path) -> str:
    console = Console(width=120, record=True, quiet=False, file=(folders[0] / "shown").open("w"))
    show_comparison(console, folders)
    return console.export_text()


def test_runs_are_held_against_the_first_and_only_settings_that_differ_are_shown(tmp_path: Path) -> None:
    text = shown(run(tmp_path / "a", 1e-3, 2, 4), run(tmp_path / "b", 2e-3, 2, 8))
    assert "+0.500 (" in text, "paired on equal prompts and noise"
    assert "0.250" in text
    assert "0.002" in next(line for line in text.splitlines() if "training.learning_rate" in line)
    assert "training.weight_decay" not in text


def test_runs_on_other_images_are_shown_without_a_paired_difference(tmp_path: Path) -> None:
    assert "other images" in shown(run(tmp_path / "a", 1e-3, 2, 4), run(tmp_path / "b", 1e-3, 2, 8, first_seed=50))


def test_one_run_and_a_run_without_evaluation_are_refused(tmp_path: Path) -> None:
    first = run(tmp_path / "a", 1e-3, 2)
    with pytest.raises(SettingsError, match="one run cannot be compared"):
        show_comparison(Console(), [first])
    with pytest.raises(SettingsError, match="no evaluation yet"):
        show_comparison(Console(), [first, run(tmp_path / "b", 1e-3)])
