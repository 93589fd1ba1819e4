"""The process of a cell: `advantageflow run` in a group of its own, its output in a log, ended as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.folder import Folder, clear_unstarted
from advantageflow_pipelines.local.failures import log_tail

_SECONDS_TO_END = 60.0  # a run that is stopped ends its stages and closes its MLflow records first
_ERROR = "error: "
_REMEDY_OF_THE_RUN = "Nothing complete is lost."  # followed by how to continue the run alone


@dataclass(frozen=True)
class Child:
    """A cell being run.

    Attributes:
        process: the command; leader of its own process group.
        log: what it prints; `log_start` bytes are of earlier attempts.
        started: seconds of the monotonic clock.
    """

    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path
    log_start: int
    started: float

    @property
    def elapsed(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self.started

    def error(self) -> str:
        """What the command said was wrong: its error message, else the end of its log."""
        with self.log.open("rb") as file:
            file.seek(self.log_start)
            lines = file.read().decode(errors="replace").splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith(_ERROR)]
        if not starts:
            how = f"killed by signal {-self.process.returncode}" if self.process.returncode < 0 else "no error message"
            return f"{how}; the end of {self.log}:\n{log_tail(self.log)}"
        message = [line for line in lines[starts[-1] :] if not line.startswith(_REMEDY_OF_THE_RUN)]
        return "\n".join(message).removeprefix(_ERROR)


def start_child(folder: Folder, cell: Cell) -> Child:
    """Start the run of a cell, or continue it from what is complete."""
    workdir, log = folder.workdir(cell), folder.log_file(cell.name)
    clear_unstarted(workdir)
    new = ["--config", str(folder.settings_file(cell.name)), "--workdir", str(workdir.root)]
    choice = ["--resume", str(workdir.root)] if workdir.root.is_dir() else new
    command = [sys.executable, "-m", "advantageflow_pipelines.cli", "run", *choice, "--runs", str(folder.runs)]
    with log.open("ab") as file:
        log_start = file.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"},
            start_new_session=True,  # Ctrl-C is for this process, which then ends its children in order
        )
    return Child(cell, process, log, log_start, time.monotonic())


def end_children(children: Sequence[Child]) -> None:
    """Ask all to end, wait until each has ended its own stages, and kill what does not; Ctrl-C again kills at once."""
    for child in children:
        _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_END
    with contextlib.suppress(KeyboardInterrupt):
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
    for child in children:
        if child.process.poll() is None:
            _signal(child, signal.SIGKILL)
            child.process.wait()


def _signal(child: Child, sign: signal.Signals) -> None:
    if child.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, sign)
