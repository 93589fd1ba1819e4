"""Why a run stopped: the failed stage's own error, not Kubeflow's wrapper around it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from advantageflow.errors import StoreError, UserError
from advantageflow.tracking.events import Event
from advantageflow_pipelines.local.tasks import Tasks
from advantageflow_pipelines.local.workdir import WorkDir

_LINES_OF_LOG = 25
_FULL = 1_000_000  # bytes
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class RunFailed(Exception):
    """A run that did not come to its end.

    Args:
        report: what a person needs to read.
        by_user: whether a user's mistake caused it (exit status 2).
    """

    def __init__(self, report: str, *, by_user: bool) -> None:
        super().__init__(report)
        self.by_user = by_user


def explain_failure(workdir: WorkDir, tasks: Tasks) -> RunFailed:
    """The failure of a run whose pipeline ended with an error.

    A task that recorded an error says it itself; else the end of the log has to do (a task killed outright, Kubeflow
    itself failing), unless a full disk explains it.
    """
    resume = f"Nothing complete is lost. Continue with: advantageflow run --resume {_shown(workdir.root)}"
    failed = tasks.failed()
    if failed:
        event = failed[0].error or {}
        report = f"{failed[0].name} failed.\n{_own_words(event)}\n{resume}"
        return RunFailed(report, by_user=not event.get("traceback"))
    if shutil.disk_usage(workdir.root).free < _FULL:  # then journal and log are cut short too
        full = StoreError("the disk is full", where=str(workdir.root), remedy="free some space there")
        return RunFailed(f"{full}\n{resume}", by_user=True)
    names = ", ".join(task.name for task in tasks.running())
    what = f"{names} ended without a word (killed, or out of memory)." if names else "The pipeline failed."
    return RunFailed(f"{what} The end of {workdir.log_file}:\n{log_tail(workdir.log_file)}\n{resume}", by_user=False)


def log_tail(path: Path, lines: int = _LINES_OF_LOG) -> str:
    """The last lines of a log that say something, colours removed."""
    text = _COLOURS.sub("", path.read_text(encoding="utf-8", errors="replace")) if path.exists() else ""
    telling = [line.rstrip() for line in text.splitlines() if line.strip(" -")]
    return "\n".join(f"  {line}" for line in telling[-lines:])


def _own_words(event: Event) -> str:
    """What the stage recorded: place, message, remedy; the traceback of what was no user's mistake."""
    if event.get("traceback"):
        return str(event["traceback"]).rstrip()
    return str(UserError(event["message"], where=event["where"], remedy=event["remedy"]))


def _shown(path: Path) -> Path:
    """Relative to the current folder where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
