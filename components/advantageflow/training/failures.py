"""Why processes that train together failed: each that fails publishes why, and what came first is the reason.

The others then fail too, with errors of their connection, or are ended. Their logs say it as well, but after it comes
what torchrun and the other processes have to say.
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from advantageflow import errors
from advantageflow.errors import TrainingError, UserError
from advantageflow.store.published import fetch_published, is_published, join, publish_folder, remove_published
from advantageflow.tracking.events import Event
from advantageflow.tracking.journal import Journal

_FILE = "failure.jsonl"
_STOPS = (signal.SIGTERM, signal.SIGINT)
_NONE: Mapping[int, int] = {}


class ProcessFailed(RuntimeError):
    """A process failed by no mistake of the user's."""


def publish_failure(url: str, rank: int, error: BaseException) -> None:
    """Say why the process of this rank failed.

    Args:
        url: a folder or s3:// address, below which all processes of a training do so.
        rank: of the process.
        error: that it raised.

    Raises:
        StoreError: it cannot be published.
    """
    with tempfile.TemporaryDirectory(prefix="advantageflow-failure-") as folder:
        Journal(str(rank), Path(folder) / _FILE).error(error)
        publish_folder(Path(folder), join(url, str(rank)))


def first_failure(url: str, processes: int, statuses: Mapping[int, int] = _NONE) -> Exception | None:
    """The error that made a group of processes fail.

    Args:
        url: below which they said why.
        processes: how many there are.
        statuses: by rank, exit statuses of those that failed, where they are known; negative: the signal that killed
            it.

    Returns:
        A user's mistake, if there is one, as the first process raised it; else the death of a process that was killed;
        else the first error. None if none said why.

    Raises:
        StoreError: the store cannot be read.
    """
    told = sorted(_failures(url, processes), key=lambda event: event["time"])
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


def remove_failures(url: str, processes: int) -> None:
    """Remove what processes said.

    Raises:
        StoreError: it cannot be removed.
    """
    for rank in range(processes):
        remove_published(join(url, str(rank)))


def _failures(url: str, processes: int) -> list[Event]:
    published = [address for rank in range(processes) if is_published(address := join(url, str(rank)))]
    with tempfile.TemporaryDirectory(prefix="advantageflow-failure-") as cache:
        return [json.loads((fetch_published(one, Path(cache)) / _FILE).read_text()) for one in published]


def _user_error(event: Event) -> UserError:
    kind = getattr(errors, event["kind"], UserError)
    error: UserError = kind(event["message"], where=event["where"], remedy=event["remedy"])
    return error
