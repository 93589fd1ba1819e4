"""The journal of a stage task, written and read back."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

import pytest

from advantageflow.errors import DataError, StoreError
from advantageflow.tracking.events import Event, read_events, run_curves, tail
from advantageflow.tracking.journal import Journal, current_journal, new_task_id, process_started, stage_journal


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADVANTAGEFLOW_JOURNAL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_journal_tells_a_task_from_start_to_end(folder: Path, tmp_path: Path) -> None:
    before = time.time()
    with stage_journal("rollout", 3, 1, {"settings": {"steps": 6}}) as journal:
        journal.useful()
        journal.metrics({"spread": 0.5}, step=3, parent=True)
        journal.image("samples/00", tmp_path / "a.png", step=3)
        journal.dataset(tmp_path / "prompts.parquet")
        journal.artifact(tmp_path / "metrics.json", "report")
    events = read_events(folder)
    assert [event["event"] for event in events] == [
        "start", "useful", "metrics", "image", "dataset", "artifact", "end",
    ]  # fmt: skip
    start, _, metrics, image, dataset, artifact, end = events
    assert (start["stage"], start["round"], start["shard"], start["pid"]) == ("rollout", 3, 1, os.getpid())
    assert start["settings"] == {"settings": {"steps": 6}}
    assert (metrics["values"], metrics["step"], metrics["parent"]) == ({"spread": 0.5}, 3, True)
    assert (image["key"], image["path"], image["step"]) == ("samples/00", str(tmp_path / "a.png"), 3)
    assert dataset["path"] == str(tmp_path / "prompts.parquet")
    assert artifact["folder"] == "report"
    assert end["seconds"] >= end["time"] - before
    assert all(before <= event["time"] <= time.time() for event in events)
    assert {event["task"] for event in events} == {start["task"]}
    assert start["task"].startswith("rollout-r003-s01-")


def test_a_stage_finds_the_open_journal_and_none_elsewhere(folder: Path) -> None:
    with stage_journal("reward") as journal:
        assert current_journal() is journal
    assert current_journal().path is None
    current_journal().metrics({"x": 1.0})
    assert [event["event"] for event in read_events(folder)] == ["start", "end"]


def test_without_tracking_nothing_is_written(untracked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with stage_journal("reward") as journal:
        journal.useful()
        journal.progress(1, 2, "images")
    assert journal.path is None
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_publishes_itself_leaves_no_folder_behind(
    untracked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")  # which never opens
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for error in (None, ValueError("on purpose")):
        with contextlib.suppress(ValueError), stage_journal("reward") as journal:
            assert journal.path is not None
            assert journal.path.exists()
            if error is not None:
                raise error
    assert list((tmp_path / "temporary").iterdir()) == []


def test_progress_is_thinned_out_but_keeps_the_first_and_the_last(folder: Path) -> None:
    with stage_journal("rollout") as journal:
        for done in range(1, 1001):
            journal.progress(done, 1000, "images")
    steps = [event["done"] for event in read_events(folder) if event["event"] == "progress"]
    assert steps[0] == 1
    assert steps[-1] == 1000
    assert len(steps) < 20


def test_an_error_is_recorded_and_raised(folder: Path) -> None:
    with pytest.raises(DataError), stage_journal("reward"):
        raise DataError("bad", where="row 3", remedy="mend")
    with pytest.raises(KeyError), stage_journal("training"):
        raise KeyError("gone")
    users, bug = (event for event in read_events(folder) if event["event"] == "error")
    assert (users["kind"], users["message"], users["where"], users["remedy"]) == ("DataError", "bad", "row 3", "mend")
    assert users["traceback"] is None
    assert "KeyError: 'gone'" in bug["traceback"]


def test_numbers_that_are_not_finite_survive(folder: Path) -> None:
    with stage_journal("training") as journal:
        journal.metrics({"loss": math.nan, "norm": math.inf})
    [values] = [event["values"] for event in read_events(folder) if event["event"] == "metrics"]
    assert math.isnan(values["loss"])
    assert values["norm"] == math.inf


def test_a_journal_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "file" / "journal"))
    with pytest.raises(StoreError, match="file/journal"), stage_journal("reward"):
        pass


def test_a_full_disk_is_a_clear_error() -> None:
    with pytest.raises(StoreError, match=r"No space left[\s\S]*free some disk space"):
        Journal("task", Path("/dev/full")).useful()


def test_a_line_that_a_full_disk_cuts_short_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "task.jsonl"
    journal = Journal("task", path)
    journal.useful()
    size, (soft, hard) = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))  # a short write, then an error: as a full disk
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            journal.useful()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.stat().st_size == size
    journal.progress(1, 1, "images")
    assert [event["event"] for event in read_events(tmp_path)] == ["useful", "progress"]


EVENT = {"task": "t", "event": "useful"}


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    good = {**EVENT, "time": 1.0}
    line, deep = json.dumps(good).encode(), b"[" * 100_000
    others = [b'{"time": 1.0}', json.dumps({**EVENT, "time": "1"}).encode()]
    lines = [line[:8] + line, b"\xff", b"", b"7", b"{}", deep, *others, line, b""]
    (tmp_path / "task.jsonl").write_bytes(b"\n".join(lines))
    assert read_events(tmp_path) == [good]


def test_curves_hold_what_stages_told_for_the_whole_run_and_the_last_word_counts() -> None:
    def told(step: int | None, value: float, *, parent: bool = True) -> Event:
        return {"task": "t", "event": "metrics", "time": 0.0, "step": step, "parent": parent, "values": {"loss": value}}

    events = [told(1, 0.5), told(2, 0.4), told(2, 0.3), told(3, 9.0, parent=False), told(None, 9.0)]
    assert run_curves(events) == {"loss": {1: 0.5, 2: 0.3}}


def test_task_ids_are_unique_and_readable() -> None:
    ids = {new_task_id("rollout", 12, 0) for _ in range(100)}
    assert len(ids) == 100
    assert all(name.startswith("rollout-r012-s00-") for name in ids)
    assert new_task_id("prompts").rpartition("-")[0] == "prompts"


def test_the_process_started_before_now_and_at_the_same_moment_each_time() -> None:
    first, second = process_started(), process_started()
    assert first < time.time()
    assert second == pytest.approx(first, abs=0.02)


def test_tail_yields_events_as_they_are_written_and_never_half_a_line(tmp_path: Path) -> None:
    stop = threading.Event()
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(event["n"] for event in tail(tmp_path, stop, interval=0.01)))
    reader.start()
    with (tmp_path / "task.jsonl").open("w", buffering=1) as file:
        line = json.dumps({**EVENT, "time": 1.0, "n": 1})
        file.write(line[:8])
        file.flush()
        time.sleep(0.05)
        assert seen == []
        file.write(line[8:] + "\n")
    (tmp_path / "other.jsonl").write_text(json.dumps({**EVENT, "time": 2.0, "n": 2}) + "\n" + '{"time": 3.0, "n"')
    stop.set()
    reader.join()
    assert seen == [1, 2]
