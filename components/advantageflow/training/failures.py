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
from advantageflow.store.published import fetch_published, folders_below, is_published, join, publish_folder
from advantageflow.tracking.events import Event
from advantageflow.tracking.journal import Journal

_FILE = "failure.jsonl"
_STOPS = (signal.SIGTERM, signal.SIGINT)


class ProcessFailed(RuntimeError):
    """A process failed by no mistake of the user's."""


def publish_failure(url: str, rank: int, error: BaseException) -> None:
    """Say why the process of this rank failed, below a folder or s3:// address that all processes of a training share.

    Raises:
        StoreError: it cannot be published.
    """
    with tempfile.TemporaryDirectory(prefix="advantageflow-failure-") as folder:
        Journal(str(rank), Path(folder) / _FILE).error(error)
        publish_folder(Path(folder), join(url, str(rank)))


def first_failure(url: str, statuses: Mapping[int, int] = {}) -> Exception | None:
    """The error that made a group of processes fail.

    Args:
        url: below which they said why.
        statuses: by rank, exit statuses of those that failed, where they are known; negative: the signal that killed
            it.

    Returns:
        A user's mistake, if there is one, as the first process raised it; else the death of a process that was killed;
        else the first error. None if none said why.

    Raises:
        StoreError: the store cannot be read.
    """
    told = sorted(_failures(url), key=lambda event: event["time"])
    for event in told:
        if event["traceback"] is None:
            kind = getattr(errors, event["kind"], UserError)
            mistake: UserError = kind(event["message"], where=event["where"], remedy=event["remedy"])
            return mistake
    for rank, status in statuses.items():
        if status < 0 and -status not in _STOPS:
            remedy = "signal 9 often means that memory ran out: lower training.microbatch or training.processes"
            message = f"process {rank} was killed by signal {-status}"
            return TrainingError(message, where="training.processes", remedy=remedy)
    return ProcessFailed(f"process {told[0]['task']} failed:\n{told[0]['traceback']}") if told else None


def _failures(url: str) -> list[Event]:
    published = [address for rank in folders_below(url) if is_published(address := join(url, rank))]
    with tempfile.TemporaryDirectory(prefix="advantageflow-failure-") as cache:
        return [json.loads((fetch_published(one, Path(cache)) / _FILE).read_text()) for one in published]
