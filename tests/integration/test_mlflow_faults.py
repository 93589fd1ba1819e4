"""Publishers that are killed, write at once or lose their store: nothing comes double, and what is missing is said."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from gate import Gate
from mlflow import MlflowClient
from mlflow_published import SETTINGS, children, curve, everything, publish, task_runs

from advantageflow.errors import StoreError, TrackingError
from advantageflow.store.files import read_json
from advantageflow.tracking.events import read_events, tail
from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.mlflow_store import sqlite_uri
from advantageflow.tracking.publisher import Publisher
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.tracking import RunTracking, sync_left, sync_run
from advantageflow_pipelines.local.workdir import WorkDir, create_workdir, locked

pytestmark = pytest.mark.fault


def test_a_publisher_that_was_killed_anywhere_leaves_nothing_double_missing_or_running(
    store: str, journal: Path
) -> None:
    whole = publish(store, journal)
    whole.close()
    client = MlflowClient(store)
    wanted = everything(client, client.get_run(whole.run_id))
    events = read_events(journal)
    killed = Publisher(store, "advantageflow", "shapes-1", SETTINGS, {"seed": "0", "preset": "shapes"})
    for number in range(0, len(events), 6):
        killed.consume(events[:number])  # and gone
        killed = Publisher(store, "advantageflow", "shapes-1", SETTINGS, {}, run_id=killed.run_id)
    killed.consume(events)
    killed.close()
    assert everything(client, client.get_run(killed.run_id)) == wanted


@pytest.mark.parametrize(("how", "patience"), [("cut request", 30.0), ("status 500", 30.0), ("wait 1.5", 1.0)])
def test_a_server_that_is_down_fails_or_is_slow_at_start_in_the_middle_or_at_the_end_costs_no_record(
    gate: Gate, mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, patience: float
) -> None:
    """Three attempts at a run, of two tasks each."""
    settings = choose_settings(preset="tiny", assignments=[f"tracking.experiment={how}"])
    workdir, warnings, client = create_workdir(tmp_path / "run", settings), list[str](), MlflowClient(mlflow_server)
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(workdir.journal))
    address = f"http://127.0.0.1:{gate.server_port}"

    def breaks() -> None:
        gate.fail("GET|POST|PUT", "", how, times=10**9)

    def task(number: int, *, published: bool) -> None:
        with stage_journal("evaluation", number) as journal:
            journal.progress(1, 1, "images")
            journal.metrics({"eval/strict": number / 8}, parent=True)
        if published:
            eventually(lambda: client.get_run(str(tracking.run_id)).data.metrics["eval/strict"] == number / 8)

    for attempt, when in enumerate(("start", "middle", "end")):
        eventually(partial(unlocked, workdir))
        with locked(workdir) as until_ended:
            tracking = RunTracking(address, workdir, warnings.append, patience, left_behind=until_ended)
            if when == "start":
                breaks()
            tracking.__enter__()
            task(2 * attempt + 1, published=when != "start")
            if when == "middle":
                breaks()
            task(2 * attempt + 2, published=when == "end")
            if when == "end":
                breaks()
            tracking.close("FINISHED")
        assert ["advantageflow sync" in warning for warning in warnings] == [True] * (attempt + 1)
        assert unlocked(workdir) != how.startswith("wait"), "what is left behind still publishes"
        gate.mend()
    eventually(partial(unlocked, workdir))
    assert sync_run(workdir, mlflow_server, warnings.append)
    parent = client.get_run(str(tracking.run_id))
    assert curve(client, parent, "eval/strict") == [(number, number / 8) for number in range(1, 7)]
    assert {run.info.status for run in task_runs(client, parent)} == {"FINISHED"}
    assert len(warnings) == 3


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it does."""
    until = time.monotonic() + 60
    while True:
        with contextlib.suppress(Exception):
            if holds():
                return
        assert time.monotonic() < until
        time.sleep(0.05)


def unlocked(workdir: WorkDir) -> bool:
    """Whether nobody works on it."""
    try:
        with locked(workdir):
            return True
    except StoreError:
        return False


def test_an_event_that_mlflow_did_not_take_is_brought_there_by_the_next_attempt(
    store: str, journal: Path, tmp_path: Path
) -> None:
    (tmp_path / "picture.png").rename(tmp_path / "hidden.png")
    first = publish(store, journal)
    with pytest.raises(TrackingError):
        first.close()
    (tmp_path / "hidden.png").rename(tmp_path / "picture.png")
    again = publish(store, journal, run_id=first.run_id)
    again.close()
    client = MlflowClient(store)
    assert curve(client, client.get_run(first.run_id), "eval/strict") == [(1, 0.4), (2, 0.5)]
    tasks = children(client, client.get_run(first.run_id))
    assert len(client.list_artifacts(tasks["pictures"].info.run_id, "images")) == 2  # full size and preview
    assert tasks["round 1 / evaluation"].data.tags["advantageflow.missing"] == "false"


def test_a_run_that_was_killed_is_ended_by_sync_and_nothing_comes_twice(
    store: str, journal: Path, tmp_path: Path
) -> None:
    settings, warnings = choose_settings(preset="tiny"), list[str]()
    workdir = create_workdir(tmp_path / "run", settings)
    for file in journal.iterdir():
        lines = file.read_bytes().splitlines(keepends=True)
        killed = file.name.startswith("rollout-r001-s01")
        (workdir.journal / file.name).write_bytes(b"".join(lines[: -1 if killed else None]))
    client, seen = MlflowClient(store), []
    for _ in range(2):
        assert sync_run(workdir, store, warnings.append)
        parent = client.get_run(read_json(workdir.root / "mlflow.json")["run_id"])
        seen.append(everything(client, parent))
    assert seen[0] == seen[1]
    assert warnings == []
    assert parent.info.status == "FAILED"
    status = {run.info.run_name: run.info.status for run in task_runs(client, parent)}
    assert (status["round 1 / rollout 0"], status["round 1 / rollout 1"]) == ("FINISHED", "KILLED")
    assert "RUNNING" not in status.values()


def test_runs_that_were_killed_are_ended_by_the_next_one_and_by_a_look_at_them(
    store: str, journal: Path, tmp_path: Path
) -> None:
    settings, warnings = choose_settings(preset="tiny"), list[str]()
    killed, other, last = (create_workdir(tmp_path / name, settings) for name in ("killed", "other", "last"))
    for workdir in (killed, other):
        shutil.copytree(journal, workdir.journal, dirs_exist_ok=True)
    client = MlflowClient(store)

    def status(tracking: RunTracking) -> str:
        return str(client.get_run(str(tracking.run_id)).info.status)

    def begin(workdir: WorkDir, *, others: bool = False) -> RunTracking:
        tracking = RunTracking(store, workdir, warnings.append, others=others).__enter__()
        deadline = time.monotonic() + 60
        while others and status(left) == "RUNNING" and time.monotonic() < deadline:
            time.sleep(0.1)  # a run looks after others as long as it goes on
        tracking.catch_up()
        assert status(tracking) == "RUNNING"
        return tracking

    left = begin(killed)
    with locked(last):
        going_on = begin(last)
        begin(other, others=True)
        assert status(left) == "FAILED", "by its journal"
        assert status(going_on) == "RUNNING", "a process works on it"
        assert sync_left([killed.root, other.root, last.root, tmp_path], warnings.append) == ["other"]
    assert sync_left([last.root], warnings.append) == ["last"]
    assert not client.search_runs([client.get_run(str(left.run_id)).info.experiment_id], "status = 'RUNNING'")
    assert warnings == []


def test_eight_runs_that_write_to_one_sqlite_file_lose_no_record(store: str, journal: Path, tmp_path: Path) -> None:
    events = [event for event in read_events(journal) if event["event"] not in ("image", "dataset", "artifact")]

    def run(_: int) -> str:
        publisher = Publisher(store, "advantageflow", "shapes-1", SETTINGS, {})
        publisher.consume(events)
        publisher.close()
        return publisher.run_id

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(run, range(8)))
    client = MlflowClient(store)
    first, *others = [everything(client, client.get_run(one)) for one in runs]
    assert all(one == first for one in others)
    assert len(first) > 20
    assert not (tmp_path / "what%3Fnow").exists(), "which MLflow makes"


def test_a_store_that_fails_in_mid_run_is_told_at_close_and_stops_nothing(
    store: str, journal: Path, tmp_path: Path
) -> None:
    publisher = Publisher(store, "advantageflow", "run", {}, {})
    (tmp_path / "what?now" / "mlflow.db").write_bytes(b"no longer a database")
    stop = threading.Event()
    stop.set()
    publisher.consume(tail(journal, stop))
    with pytest.raises(TrackingError, match=r"MLflow did not take 3 record\(s\)[\s\S]*results are complete"):
        publisher.close()


def test_a_picture_that_is_gone_is_told_and_the_rest_is_published(store: str, journal: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.png").unlink()
    publisher = publish(store, journal)
    with pytest.raises(TrackingError, match=r"1 record\(s\).*picture\.png"):
        publisher.close()
    client = MlflowClient(store)
    assert curve(client, client.get_run(publisher.run_id), "eval/strict") == [(1, 0.4), (2, 0.5)]


def test_a_store_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is text, not sqlite")
    with pytest.raises(TrackingError, match=r"mlflow\.db: MLflow failed"):
        Publisher(sqlite_uri(tmp_path / "mlflow.db"), "advantageflow", "run", {}, {})


@pytest.mark.slow
def test_processes_that_create_the_store_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    code = "import sys; from advantageflow.tracking.mlflow_store import open_client; open_client(sys.argv[1])"
    command = [sys.executable, "-c", code, sqlite_uri(tmp_path / "new" / "mlflow.db")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[1] for process in processes] == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]
