"""`advantageflow compare` from end to end: real runs as processes, one that diverges, stopped once and continued."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import processes_of, start

from advantageflow_experiments.compare.comparison import Comparison
from advantageflow_experiments.compare.pictures import draw

pytestmark = pytest.mark.slow

LONGEST = 600  # seconds, on a busy machine
PLAN = """
title: A tiny comparison
preset: tiny
seeds: [0]
common: {rounds: 1, rollout.shards: 1, training.threads: 1, evaluation.threads: 1}
variants:
  calm: {assignments: {training.objective.lam: 1}}
  wild: {label: much too fast, assignments: {training.learning_rate: 1.0e+30}}
"""


@dataclass(frozen=True)
class Compared:
    """A comparison that was stopped in its second run, and continued."""

    root: Path
    stopped: str
    continued: str

    def read(self) -> dict[str, Any]:
        return dict(json.loads((self.root / "comparison.json").read_text()))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """The plan, stopped by Ctrl-C once the first run is complete and the second has begun; then continued."""
    cwd = tmp_path_factory.mktemp("compare")
    (cwd / "tiny.yaml").write_text(PLAN)
    root = cwd / "out"
    with start("compare", "tiny.yaml", "--jobs", "1", "--out", "out", cwd=cwd) as process:
        deadline = time.monotonic() + LONGEST
        while not list(root.glob("runs/wild-seed0/journal/*.jsonl")) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stopped, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 130, stopped
    assert processes_of(root) == []
    with start("compare", "--resume", "out", cwd=cwd) as process:
        continued, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, continued
    return Compared(root, stopped, continued)


def test_each_run_is_a_line_and_a_stopped_comparison_says_how_to_continue(compared: Compared) -> None:
    assert "2 runs: 2 variants x 1 seed, 24 images each, 1 at once" in compared.stopped
    assert "1/2 calm, seed 0: accuracy " in compared.stopped
    assert f"continue with: advantageflow compare --resume {compared.root}" in compared.stopped
    assert "Traceback" not in compared.stopped


def test_a_complete_run_is_kept_and_the_other_one_continued(compared: Compared) -> None:
    assert "1 of 2 runs are there from before" in compared.continued
    attempts = {name: (compared.root / "runs" / name / "attempts.jsonl").read_text().splitlines() for name in
                ("calm-seed0", "wild-seed0")}  # fmt: skip
    assert [len(lines) for lines in attempts.values()] == [1, 2]


def test_divergence_is_a_result_with_the_accuracy_before_it(compared: Compared) -> None:
    assert "2/2 wild, seed 0: diverged in round 1" in compared.continued
    found = compared.read()
    calm, wild = found["cells"]
    assert (calm["diverged_round"], wild["diverged_round"]) == (None, 1)
    assert [point["round"] for point in wild["points"]] == [0]
    assert wild["points"][0]["strict"] == calm["points"][0]["strict"], "equal seeds start from equal images"
    assert "not finite" in wild["reason"]
    assert [point["generated"] for point in calm["points"]] == [0, 24]
    assert calm["points"][-1]["training_seconds"] > 0
    assert Comparison.model_validate(found).diverged("wild") == {0: 1}
    assert "seed 0 in round 1" in (compared.root / "table.md").read_text()


def test_pictures_are_drawn_and_drawn_the_same_again(compared: Compared) -> None:
    pictures = {path: path.read_bytes() for path in compared.root.glob("*.png")}
    assert {path.name for path in pictures} == {"accuracy_by_images.png", "accuracy_by_seconds.png", "tasks.png"}
    draw(Comparison.model_validate(compared.read()), compared.root)
    assert {path: path.read_bytes() for path in pictures} == pictures


def test_mlflow_has_all_runs_by_their_names_in_one_experiment(compared: Compared) -> None:
    from mlflow import MlflowClient

    assert f"advantageflow ui --runs {compared.root / 'runs'}" in compared.continued
    client = MlflowClient(f"sqlite:///{compared.root / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    parents = client.search_runs([experiment.experiment_id], "tags.workdir LIKE '%'")
    status = {run.info.run_name.partition(":")[0]: run.info.status for run in parents}
    assert status == {"calm-seed0": "FINISHED", "wild-seed0": "FAILED"}
