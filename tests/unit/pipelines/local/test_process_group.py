"""Ending a pipeline's process ends all that it started, and leaves those that ask for it the time to finish."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from advantageflow_pipelines.local.run import end_group

LEADER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
time.sleep(60)
"""
# A task that hears of SIGTERM, goes on for some seconds, then writes what it has.
TASK = """
import pathlib, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(time.monotonic()))
folder, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
(folder / "started").touch()
while not told or time.monotonic() < told[0] + seconds:
    (folder / "alive").write_text(str(time.monotonic()))
    time.sleep(0.02)
(folder / "kept").touch()
"""

Start = Callable[[float], subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a leader, and a task of it that takes so many seconds to end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(seconds: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", LEADER, TASK, str(tmp_path), str(seconds)]
        started.append(subprocess.Popen(command, start_new_session=True))
        while not (tmp_path / "started").exists():
            time.sleep(0.02)
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def still_writes(folder: Path) -> bool:
    before = (folder / "alive").read_text()
    time.sleep(0.5)
    return (folder / "alive").read_text() != before


def test_a_task_that_outlives_the_leader_is_waited_for(start: Start, tmp_path: Path) -> None:
    process = start(0.5)
    end_group(process, 60, lambda: None)
    assert process.returncode == -signal.SIGTERM
    assert (tmp_path / "kept").exists()


def test_a_long_wait_is_told_and_a_task_that_does_not_end_in_time_is_killed(start: Start, tmp_path: Path) -> None:
    told: list[str] = []
    end_group(start(600), 2.5, lambda: told.append("waiting"))
    assert told == ["waiting"]
    assert not (tmp_path / "kept").exists()
    assert not still_writes(tmp_path)


def test_an_interrupt_while_waiting_kills_at_once(start: Start, tmp_path: Path) -> None:
    process = start(600)
    with pytest.raises(KeyboardInterrupt):
        end_group(process, 600, lambda: signal.raise_signal(signal.SIGINT))
    assert not still_writes(tmp_path)


def test_what_came_to_a_good_end_is_left_alone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    end_group(process, 0, threading.Event().set)
    assert process.returncode == 0
