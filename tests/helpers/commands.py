"""The `advantageflow` command as a process of its own, as a person starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    output: str


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "advantageflow_pipelines", *arguments],
        cwd=cwd, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def advantageflow(*arguments: str, cwd: Path, longest: float) -> Done:
    """Run a command to its end, which comes within `longest` seconds."""
    with start(*arguments, cwd=cwd) as process:
        output, _ = process.communicate(timeout=longest)
    return Done(process.returncode, output)


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if str(folder) in line]
