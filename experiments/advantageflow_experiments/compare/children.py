"""The process of a cell: `advantageflow run` in a group of its own, its output in a log, ended as a whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.folder import Folder
from advantageflow_pipelines.local.failures import log_tail

_SECONDS_TO_END = 60.0  # a run that is stopped ends its stages and closes its MLflow records first
_ERROR = re.compile(r"^error: (.*)", re.MULTILINE | re.DOTALL)
_REMEDY_OF_THE_RUN = re.compile(r"^Nothing complete is lost\..*\n?", re.MULTILINE)  # how to continue the run alone


@dataclass(frozen=True)
class Child:
    """A cell being run.

    Attributes:
        process: the command; leader of its own process group.
        log: what it prints.
    """

    cell: Cell
    process: subprocess.Popen[bytes]
    log: Path

    def error(self) -> str:
        """What the command said was wrong: its error message, else the end of its log."""
        message = _ERROR.search(self.log.read_text(encoding="utf-8", errors="replace"))
        if message is not None:
            return _REMEDY_OF_THE_RUN.sub("", message[1]).rstrip()
        how = f"killed by signal {-self.process.returncode}" if self.process.returncode < 0 else "no error message"
        return f"{how}; the end of {self.log}:\n{log_tail(self.log)}"


def start_child(folder: Folder, cell: Cell) -> Child:
    """Start the run of a cell, or continue it from what is complete."""
    workdir, log = folder.workdir(cell), folder.log_file(cell.name)
    if workdir.settings_file.exists():
        choice = ["--resume", str(workdir.root)]
    else:
        shutil.rmtree(workdir.root, ignore_errors=True)  # stopped before its settings were written: it holds nothing
        choice = ["--config", str(folder.settings_file(cell.name)), "--workdir", str(workdir.root)]
    command = [sys.executable, "-m", "advantageflow_pipelines", "run", *choice, "--runs", str(folder.runs)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"},
            start_new_session=True,  # Ctrl-C is for this process, which then ends its children in order
        )
    return Child(cell, process, log)


def end_children(children: Sequence[Child]) -> None:
    """Ask all to end and wait until each has ended its own stages; what is then left is killed.

    Ctrl-C while they are waited for kills at once.
    """
    for child in children:
        child.process.terminate()
    until = time.monotonic() + _SECONDS_TO_END
    with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        for child in children:
            child.process.wait(max(0.0, until - time.monotonic()))
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended; the second is macOS's word
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
