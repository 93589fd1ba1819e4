"""One run in which every stage fails on purpose, each time another way: nothing complete is lost, and it is said."""

from __future__ import annotations

import errno
import io
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from advantageflow.errors import StoreError
from advantageflow.policy import generate
from advantageflow.store import files
from advantageflow.tracking.events import read_events
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.run import run_locally
from advantageflow_pipelines.local.runners import Runner, RunnerKind, write_runner
from advantageflow_pipelines.local.tasks import RunFailed
from advantageflow_pipelines.local.workdir import WorkDir, create_workdir
from advantageflow_pipelines.say import Console

pytestmark = pytest.mark.fault
SETTINGS = choose_settings(preset="tiny", rounds=1)
TASKS = ["prompts", "evaluation-0", "rollout-1", "reward-1", "training-1", "evaluation-1"]
FITS = 6  # images, of batches of 12


class Faulty:
    """A run whose next attempt fails where it is told to."""

    def __init__(self, root: Path) -> None:
        self.workdir: WorkDir = create_workdir(root, SETTINGS)
        write_runner(self.workdir, Runner(RunnerKind.INLINE))
        self.full_at = self.said = ""

    def attempt(self) -> dict[str, Any]:
        """Start or continue it, MLflow being away all the time."""
        shown = io.StringIO()
        try:
            return run_locally(
                self.workdir, console=Console(file=shown, width=200),
                tracking_uri="sqlite:////proc/none/mlflow.db",
            )  # fmt: skip
        finally:
            self.said = shown.getvalue()

    def complete(self) -> set[str]:
        return {path.parent.name for path in self.workdir.artifacts.glob("*/*/executor_output.json")}

    def half(self) -> list[Path]:
        return list(self.workdir.artifacts.rglob("*partial*"))

    def warnings(self) -> list[str]:
        return [one["message"] for one in read_events(self.workdir.journal) if one["event"] == "warning"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    faulty = Faulty(tmp_path_factory.mktemp("faults") / "run")
    replace, velocity = files._replace, generate.velocity_function

    def full(partial: Path, folder: Path) -> None:
        if folder.parent.name == faulty.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial))
        replace(partial, folder)

    def small(family: Any, transformer: Any, told: Any, *others: Any) -> Any:
        if len(told) > FITS:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return velocity(family, transformer, told, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_replace", full)
        patch.setattr(generate, "velocity_function", small)
        yield faulty


@pytest.mark.parametrize("task", TASKS)
def test_a_full_disk_at_a_stage_costs_that_stage_alone(run: Faulty, task: str) -> None:
    run.full_at = task
    with pytest.raises(RunFailed, match="the disk is full") as failed:
        run.attempt()
    assert failed.value.by_user
    assert "free some space there" in str(failed.value)
    assert f"advantageflow run --resume {run.workdir.root}" in str(failed.value)
    assert run.complete() == set(TASKS[: TASKS.index(task)])
    assert run.half() == []


def test_memory_that_ends_in_sampling_halves_the_batch_and_is_told(run: Faulty) -> None:
    told = [warning for warning in run.warnings() if "the GPU's memory ended with a batch of 12 images" in warning]
    assert told
    assert "6 at a time from now on; lower rollout.batch_groups" in told[0]


def test_memory_that_ends_in_training_says_which_settings_need_less(
    run: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*arguments: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    run.full_at = ""
    forget(run, "training-1")
    monkeypatch.setattr("advantageflow.training.train.train_round", ends)
    with pytest.raises(RunFailed, match="training: memory ended: CUDA out of memory") as failed:
        run.attempt()
    assert failed.value.by_user
    assert "training.microbatch, training.gradient_checkpointing=true" in str(failed.value)


def test_a_lost_shard_is_made_again_and_a_clock_that_jumps_changes_nothing(
    run: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time
    forget(run, "rollout-1", "rollouts")  # the shard's images alone
    run.full_at = "rollout-1"
    with pytest.raises(RunFailed, match="round 1 rollout failed"):
        run.attempt()
    run.full_at = ""
    begun = clock()
    monkeypatch.setattr(time, "time", lambda: clock() + (0, -3600, 7200)[int(clock() - begun) % 3])
    summary = run.attempt()
    assert "round 1 training: " in run.said
    assert "round 1/1: strict accuracy" in run.said
    assert 0 < summary["overhead"]["of_seconds"] < 600
    assert 0 < summary["seconds"] < 600
    assert "this run is not recorded in MLflow" in run.said
    assert summary["mlflow_run_id"] is None
    assert run.complete() == set(TASKS)


@pytest.mark.parametrize("file", ["evaluation-1/report/metrics.json", "training-1/new_policy/state.json"])
def test_a_file_that_a_complete_run_has_lost_is_named_with_what_makes_it_again(run: Faulty, file: str) -> None:
    run.workdir.check_whole()
    (lost,) = run.workdir.artifacts.glob(f"*/{file}")
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(StoreError, match="file not found") as caught:
        run.workdir.check_whole()
    lost.write_bytes(content)
    assert caught.value.where == str(lost)
    assert f"delete {lost.parents[1]} and continue with" in caught.value.remedy


def forget(run: Faulty, task: str, output: str = "") -> None:
    """Take away what a task made."""
    (folder,) = run.workdir.artifacts.glob(f"*/{task}")
    shutil.rmtree(folder / output)
