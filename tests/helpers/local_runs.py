"""Complete runs of `advantageflow run`, and waiting for what a run in progress writes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import commands

from advantageflow_pipelines.local.workdir import WorkDir, open_workdir

TINY = ("run", "--preset", "tiny")
LONGEST_RUN = 600  # seconds, on a busy machine


@dataclass(frozen=True)
class Run:
    """A complete run."""

    workdir: WorkDir
    output: str

    @property
    def summary(self) -> dict[str, Any]:
        return dict(json.loads(self.workdir.summary_file.read_text()))


def opened(run: Run) -> WorkDir:
    return open_workdir(run.workdir.root)


advantageflow = partial(commands.advantageflow, longest=LONGEST_RUN)


def complete(*arguments: str, cwd: Path) -> Run:
    done = advantageflow(*arguments, cwd=cwd)
    assert done.status == 0, done.output
    return Run(WorkDir(cwd / "run"), done.output)


def wait_for(folder: Path, pattern: str) -> Path:
    """The first file of this name that appears."""
    deadline = time.monotonic() + LONGEST_RUN
    while time.monotonic() < deadline:
        for path in folder.glob(pattern):
            return path
        time.sleep(0.02)
    raise TimeoutError(pattern)
