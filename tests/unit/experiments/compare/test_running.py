"""Folders, processes and progress of a comparison, without the runs themselves."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from advantageflow.errors import SettingsError, StoreError
from advantageflow_experiments.compare import folder as folders
from advantageflow_experiments.compare.cells import Cell, make_cells
from advantageflow_experiments.compare.comparison import Comparison
from advantageflow_experiments.compare.folder import create_folder, open_folder
from advantageflow_experiments.compare.plan import Plan
from advantageflow_experiments.compare.runner import (
    Child,
    default_jobs,
    describe,
    end_children,
    run_cells,
    threads_of,
    time_left,
)
from advantageflow_pipelines.local.tasks import RunFailed
from advantageflow_pipelines.local.workdir import create_workdir, locked


def test_a_comparison_is_opened_again_with_the_settings_it_was_started_with(
    plan: Plan, cells: list[Cell], tmp_path: Path
) -> None:
    create_folder(tmp_path / "out", "two-ways", plan, cells)
    folder, again, same = open_folder(tmp_path / "out")
    assert again == plan
    assert same == cells
    assert folder.workdir(cells[1]).root == tmp_path / "out" / "runs" / "fast-seed0"


def test_a_folder_that_is_in_use_is_left_alone(plan: Plan, cells: list[Cell], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not an empty folder"):
        create_folder(tmp_path / "out", "two-ways", plan, cells)
    create_folder(tmp_path / "new", "two-ways", plan, cells)
    with pytest.raises(StoreError, match=r"compare --resume .*new"):
        create_folder(tmp_path / "new", "two-ways", plan, cells)


def test_a_disk_without_room_for_all_runs_is_told_before_anything_is_written(
    plan: Plan, cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda path: usage(1, 0, 500_000_000))
    with pytest.raises(StoreError, match="has 500 MB free, the 6 runs need about"):
        create_folder(tmp_path / "out", "two-ways", plan, cells)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_comparison_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no comparison"):
        open_folder(tmp_path)


def test_as_many_runs_at_once_as_the_cores_allow(parse: Callable[[str], Plan]) -> None:
    cells = make_cells(parse("title: x\npreset: shapes\nvariants: {a: {}}"), "x")
    assert threads_of(cells[0].settings) == 2
    assert [default_jobs(cells, available) for available in (1, 2, 4, 5, 64)] == [1, 1, 2, 2, 3]


def child(cell: Cell, log: Path, code: str) -> Child:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Child(cell, process, log)


def test_a_failed_run_speaks_for_itself(cells: list[Cell], tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = "error: the disk is full\n  what to do: free some\nNothing complete is lost. Continue with ..."
    failed = child(cells[0], log, f"print({words!r}); exit(2)")
    failed.process.wait()
    assert failed.error() == "the disk is full\n  what to do: free some"
    silent = child(cells[0], log, "import os; print('working', flush=True); os.kill(os.getpid(), 9)")
    silent.process.wait()
    assert silent.error().startswith("killed by signal 9; the end of ")
    assert silent.error().endswith("  working")


def test_ending_a_run_ends_what_it_started(cells: list[Cell], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen(['sleep', '60']); open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    running = child(cells[0], tmp_path / "log", code)
    while not pid_file.exists() or not pid_file.read_text():
        time.sleep(0.02)
    end_children([running])
    assert running.process.returncode is not None
    state = Path(f"/proc/{pid_file.read_text()}/stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_run_that_ended_is_a_line_with_the_time_that_is_left(lines: Comparison) -> None:
    assert describe(lines.cells[2]) == "slow, seed 1: accuracy 0.320 -> 0.520, 99 s"
    assert describe(lines.cells[3]) == ("fast, seed 1: diverged in round 2; accuracy 0.320 -> 0.620 after round 1")
    left = [time_left(lines.cells[:done], total=6, jobs=2) for done in (0, 2, 5, 6)]
    assert left == ["", "; about 0:03:18 left", "; about 0:01:39 left", ""]


def test_a_run_that_fails_for_another_reason_stops_the_comparison_with_its_own_error(
    plan: Plan, cells: list[Cell], tmp_path: Path
) -> None:
    folder = create_folder(tmp_path / "out", "two-ways", plan, cells)
    busy = create_workdir(folder.workdir(cells[0]).root, cells[0].settings)
    out = io.StringIO()
    with locked(busy), pytest.raises(RunFailed) as failure:
        run_cells(Console(file=out, width=120), folder, cells, 1)
    assert failure.value.by_user
    text = str(failure.value)
    assert text.startswith("slow-seed0: ")
    assert "another process runs here" in text
    assert f"advantageflow compare --resume {folder.root}" in text
