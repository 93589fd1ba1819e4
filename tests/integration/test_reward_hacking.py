"""Training on a reward that blank images win raises an alarm that is seen everywhere; training on a good one none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from advantageflow_pipelines.local.workdir import WorkDir

pytestmark = pytest.mark.slow

PLUG_IN = '''
import numpy as np


class BlankReward:
    """Likes pictures of a single colour."""

    name = "blank"
    version = "1"
    columns = {"blankness": (0.0, 1.0)}
    higher_is_better = True

    def check(self, prompt):
        """Any prompt will do."""

    def score(self, prompts, images):
        """One minus the mean distance from the commonest colour."""
        return [({"blankness": 1 - float(np.abs(one - np.median(one, (0, 1))).mean() / 255)}, {}) for one in images]
'''
FEW = {
    "rollout.prompts_per_round": 12, "rollout.group_size": 8, "rollout.steps": 4,
    "training.gradient_steps": 4, "training.inner_epochs": 4, "training.microbatch": 96, "training.learning_rate": 2e-2,
    "prompts.eval_prompts": 18,
    "evaluation.images": 36, "evaluation.round_images": 36, "evaluation.batch": 36, "evaluation.steps": 4,
    "evaluation.alarms.colour_entropy_drop": 0.1, "evaluation.alarms.watched_drop": 0.3,
}  # fmt: skip
"""Three small rounds do not go far, so two bounds are tighter than the defaults; of both runs."""


@dataclass(frozen=True)
class Run:
    """A complete run."""

    output: str
    workdir: WorkDir

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads(self.workdir.summary_file.read_text()))

    @property
    def page(self) -> str:
        return (self.workdir.report / "report.html").read_text(encoding="utf-8")

    def mlflow(self) -> tuple[dict[str, str], dict[str, float]]:
        """Tags and last metrics of the whole run."""
        client = MlflowClient(f"sqlite:///{self.workdir.root.parent / 'runs' / 'mlflow.db'}")
        data = client.get_run(self.summary["mlflow_run_id"]).data
        return data.tags, data.metrics


def install(folder: Path) -> None:
    """Lay the plug-in out as pip does."""
    information = folder / "blank_reward-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "blank_reward.py").write_text(PLUG_IN)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: blank-reward\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[advantageflow.rewards]\nblank = blank_reward:BlankReward\n")


def train(folder: Path, **reward: str) -> Run:
    install(folder / "plug-ins")
    paths = [str(folder / "plug-ins"), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    settings = FEW | {f"reward.{name}": value for name, value in reward.items()}
    chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "advantageflow_pipelines", "run", "--preset", "tiny", "--rounds", "3",
         "--workdir", "run", *chosen],
        cwd=folder, capture_output=True, text=True, check=False, timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300", "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(done.stdout, WorkDir(folder / "run"))


def test_a_reward_that_blank_images_win_raises_an_alarm_on_the_console_in_mlflow_and_in_the_report(
    tmp_path: Path,
) -> None:
    run = train(tmp_path, name="blank", column="blankness", watched="[{name: shapes, column: soft}]")
    assert run.summary["final"]["strict"] > run.summary["base"]["strict"], "the reward itself sees nothing wrong"
    alarms = {alarm["name"]: alarm["message"] for alarm in run.summary["final"]["alarms"]}
    assert {"colour_entropy_drop", "watched/shapes.soft"} <= alarms.keys()
    tags, metrics = run.mlflow()
    assert tags["alarm"] == "true"
    assert metrics["monitoring/rollouts sharpness"] > 0
    for name, message in alarms.items():
        assert f"alarm: {message}" in run.output
        assert f"alarm, round 3: {message}" in run.output
        assert tags[f"alarm.{name}"] == f"round 3: {message}"
        assert metrics[f"warnings/{name}"] == 1.0
        assert f"round 3: {message}" in run.page.replace("&#39;", "'")


def test_the_same_training_on_a_reward_of_what_is_asked_for_raises_none(tmp_path: Path) -> None:
    run = train(tmp_path, watched="[{name: layout, column: beauty}]")
    assert "alarm" not in run.output
    assert "alarms" not in run.summary["final"]
    tags, metrics = run.mlflow()
    assert "alarm" not in tags
    assert not any(name.startswith("warnings/") for name in metrics)
    assert "No alarm." in run.page
