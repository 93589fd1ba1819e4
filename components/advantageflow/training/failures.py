"""Why processes that train together failed: each that fails says why in a file, and what came first is the reason.

The others then fail too, with errors of their connection, or are ended.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path

from advantageflow import errors
from advantageflow.errors import TrainingError, UserError
from advantageflow.tracking.events import Event
from advantageflow.tracking.journal import Journal

_STOPS = (signal.SIGTERM, signal.SIGINT)


class ProcessFailed(RuntimeError):
    """A process failed by no mistake of the user's."""


def record_failure(folder: Path, rank: int, error: BaseException) -> None:
    """Say why a process failed."""
    Journal(str(rank), folder / f"failure-{rank}.jsonl").error(error)


def first_failure(folder: Path, statuses: Mapping[int, int]) -> Exception | None:
    """The error that made a group of processes fail.

    Args:
        folder: in which they said why.
        statuses: by rank, exit statuses of those that failed; negative: the signal that killed it.

    Returns:
        A user's mistake, if there is one, as the first process raised it; else the death of a process that was killed;
        else the first error. None if none said why.
    """
    files = folder.glob("failure-*.jsonl")
    told: list[Event] = sorted((json.loads(file.read_text()) for file in files), key=lambda event: event["time"])
    for event in told:
        if event["traceback"] is None:
            return _user_error(event)
    for rank, status in statuses.items():
        if status < 0 and -status not in _STOPS:
            return TrainingError(
                f"process {rank} was killed by signal {-status}",
                where="training.processes",
                remedy="signal 9 often means that memory ran out: lower training.microbatch or training.processes",
            )
    for event in told:
        return ProcessFailed(f"process {event['task']} failed:\n{event['traceback']}")
    return None


def _user_error(event: Event) -> UserError:
    kind = getattr(errors, event["kind"], UserError)
    error: UserError = kind(event["message"], where=event["where"], remedy=event["remedy"])
    return error
