"""The stage with training.processes = 2: started, watched and ended by its task, which is one process to all others."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_task import checkpoints, start, steps_kept, wait_for

from advantageflow.errors import DataError, Preempted, TrainingError
from advantageflow.settings import StoreSettings
from advantageflow.store.files import read_json
from advantageflow.tracking.journal import stage_journal
from advantageflow.training import stage
from advantageflow.training.call import ProcessFailed, first_failure, publish_failure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

CASE = "many steps"
STEPS = 40


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def arguments(trained: Any, tmp_path: Path, store: Path) -> dict[str, Any]:
    """The stage's arguments: two processes and checkpoints."""
    return {
        **trained.arguments(CASE, "two", processes=2, checkpoint_every=2),
        "policy_out": tmp_path / "trained", "store": StoreSettings(url=str(store)),
    }  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """Turns the journal on; gives its events."""
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for f in (tmp_path / "journal").iterdir() for line in f.read_text().splitlines()]

    return read


def workers(parent: int) -> dict[int, int]:
    """Process ids of the training's processes, by rank."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = {}
    for child in children:
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"advantageflow.training.worker" in command:
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            (rank,) = (int(value.removeprefix(b"RANK=")) for value in environment if value.startswith(b"RANK="))
            found[rank] = int(child)
    return found


def gone(process: int) -> bool:
    """Whether it has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@pytest.mark.slow
def test_one_process_killed_ends_all_and_the_task_tried_again_gets_the_policy_of_an_attempt_without_a_break(
    arguments: dict[str, Any], trained: Any, store: Path, journal: Callable[[], list[dict[str, Any]]]
) -> None:
    task = start(arguments)
    wait_for(lambda: checkpoints(store), task)
    both = workers(task.pid)
    assert sorted(both) == [0, 1]
    os.kill(both[1], signal.SIGKILL)
    _, shown = task.communicate(timeout=60)
    assert task.returncode == 2
    assert shown.splitlines()[-2].startswith("training.processes: process 1 was killed by signal 9")
    assert all(gone(process) for process in both.values())
    assert 0 < steps_kept(store) < STEPS
    assert [event["kind"] for event in journal() if event["event"] == "error"] == ["TrainingError"]

    with stage_journal("training", 1) as again:
        stage.run(**arguments)
    made, without_a_break = (
        read_json(folder / "state.json")["policy_sha256"]
        for folder in (arguments["policy_out"], trained.policy("two", CASE))
    )
    assert made == without_a_break
    assert not checkpoints(store)
    (published,) = (store / "policies").iterdir()
    assert published.name == f"round-001-{made[:12]}"

    mine = [event for event in journal() if event["task"] == again.task]
    assert [event["event"] for event in mine if event["event"] not in ("progress", "metrics")] == [
        "start", "useful", "end",
    ]  # fmt: skip
    steps = [event["step"] for event in mine if event["event"] == "metrics" and not event["parent"]]
    assert steps == list(range(1, STEPS + 1))
    (of_round,) = [event["values"] for event in mine if event["event"] == "metrics" and event["parent"]]
    assert of_round["training/checkpoints"] >= 1


@pytest.mark.slow
def test_asked_to_end_all_processes_do_after_the_same_step_with_the_status_to_try_again(
    arguments: dict[str, Any], store: Path, journal: Callable[[], list[dict[str, Any]]]
) -> None:
    task = start(arguments)
    wait_for(lambda: checkpoints(store), task)
    both = workers(task.pid)
    task.terminate()
    _, shown = task.communicate(timeout=60)
    assert task.returncode == 75
    kept = steps_kept(store)
    assert shown.splitlines()[-2] == f"training: was asked to end; gradient step {kept} of {STEPS} is done and kept"
    assert "Traceback" not in shown
    assert all(gone(process) for process in both.values())
    assert [event["kind"] for event in journal() if event["event"] == "error"] == ["Preempted"]


@pytest.mark.slow
def test_without_checkpoints_the_signal_ends_all_processes_at_once(arguments: dict[str, Any]) -> None:
    arguments["settings"] = arguments["settings"].model_copy(update={"checkpoint_every": 0})
    task = start(arguments)
    wait_for(lambda: len(workers(task.pid)) == 2, task)
    both = workers(task.pid)
    task.terminate()
    _, shown = task.communicate(timeout=60)
    assert task.returncode == -signal.SIGTERM
    assert "Traceback" not in shown
    until = time.monotonic() + 60  # one that has only just started ends when it finds its parent gone
    while not all(gone(process) for process in both.values()):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_first_users_error_counts_whatever_the_others_say(tmp_path: Path) -> None:
    publish_failure(str(tmp_path), 0, RuntimeError("Connection closed by peer"))
    publish_failure(str(tmp_path), 1, DataError("no such rollout", where="scores", remedy="score it"))
    publish_failure(str(tmp_path), 2, DataError("later", where="", remedy=""))
    error = first_failure(str(tmp_path), {0: 1, 1: 2, 2: 2})
    assert isinstance(error, DataError)
    assert (error.message, error.where, error.remedy) == ("no such rollout", "scores", "score it")


def test_preemption_stays_what_it_is(tmp_path: Path) -> None:
    publish_failure(str(tmp_path), 1, Preempted("was asked to end", where="training", remedy="again"))
    assert isinstance(first_failure(str(tmp_path), {1: 75}), Preempted)


def test_a_killed_process_counts_before_those_that_lost_it(tmp_path: Path) -> None:
    publish_failure(str(tmp_path), 0, RuntimeError("Connection closed by peer"))
    error = first_failure(str(tmp_path), {0: 1, 1: -signal.SIGKILL})
    assert isinstance(error, TrainingError)
    assert "process 1 was killed by signal 9" in str(error)


def test_a_bug_is_shown_with_the_traceback_of_the_process_that_had_it(tmp_path: Path) -> None:
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError as bug:
        publish_failure(str(tmp_path), 1, bug)
    publish_failure(str(tmp_path), 0, RuntimeError("Connection closed by peer"))
    error = first_failure(str(tmp_path), {1: 1, 0: -signal.SIGTERM})
    assert isinstance(error, ProcessFailed)
    assert str(error).startswith("process 1 failed:\nTraceback")
    assert str(error).rstrip().endswith("ZeroDivisionError: a bug")
    assert first_failure(str(tmp_path / "nothing"), {0: 1}) is None
