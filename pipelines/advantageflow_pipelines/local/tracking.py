"""A local run in MLflow: a thread that opens the store while the run starts, and publishes its journal as it grows."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from advantageflow.errors import StoreError, TrackingError, UserError
from advantageflow.shown import masked
from advantageflow.store.files import read_json, read_metadata, write_json
from advantageflow.tracking.events import TRACKING_ENV, Event, read_events, tail
from advantageflow.tracking.mlflow_store import sqlite_uri
from advantageflow.tracking.promotion import Conclusion, inputs_sha256
from advantageflow.tracking.publisher import Publisher
from advantageflow.tracking.registration import last_judged
from advantageflow.tracking.ui import run_title
from advantageflow_pipelines.local.runners import read_runner
from advantageflow_pipelines.local.summary import read_summary
from advantageflow_pipelines.local.workdir import WorkDir, locked, open_workdir

STORE_FILE = "mlflow.db"
SECONDS_AT_THE_END = 120.0  # for what is left to be published when a run is over, its files too
SECONDS_AFTER_AN_INTERRUPT = 5.0  # for the same, where it has been begun
_SECONDS_FOR_ANOTHER = 20.0  # that was killed, of the same
_RECORD_FILE = "mlflow.json"

logger = logging.getLogger(__name__)


def tracking_uri(workdir: WorkDir, runs: Path) -> str:
    """The store that the run was recorded in before; else MLFLOW_TRACKING_URI, or the file that `runs` share."""
    record, named = _read_record(workdir), os.environ.get(TRACKING_ENV)
    recorded = record.get("tracking_uri") if record.get("run_id") else None
    if named and recorded == masked(named):
        return named  # with its password, which is not kept
    return recorded or store_uri(runs)


def store_uri(runs: Path) -> str:
    """MLFLOW_TRACKING_URI, or the store that the runs of a folder share."""
    return os.environ.get(TRACKING_ENV) or sqlite_uri(runs / STORE_FILE)


class RunTracking:
    """Publishes one run: `with RunTracking(...) as tracking:` around it; how the block ends is the run's status.

    MLflow takes seconds to import and to create its store, in which no other Python runs in this process: that waits
    until images are being made, which torch does beside it. A store that fails, or does not answer, costs the run
    nothing: it is told, and `sync_run` or the next attempt brings there what is missing.

    Args:
        workdir: the run; its MLflow run is remembered there, and continued by a later attempt.
        patience: seconds that the store is given at the end.
        others: whether runs of its experiment that were killed outright are brought to their end too.
        left_behind: told the thread that still publishes when the store has had its time, as by `locked`.
    """

    def __init__(
        self,
        uri: str,
        workdir: WorkDir,
        warn: Callable[[str], None],
        patience: float = SECONDS_AT_THE_END,
        *,
        others: bool = False,
        left_behind: Callable[[threading.Thread], None] = lambda thread: None,
    ) -> None:
        self._uri = uri
        self._workdir = workdir
        self._warn = warn
        self._others, self._left_behind = others, left_behind
        self._patience, self._late = patience, False
        self._deadline: float | None = None
        self._stop = threading.Event()
        self._publisher: Publisher | None = None
        self._thread = threading.Thread(target=self._publish, name="mlflow", daemon=True)

    def __enter__(self) -> RunTracking:
        with suppress(StoreError):  # what the attempt tells is not there yet
            _write_record(self._workdir, self._uri, self.run_id, complete=False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if interrupted:
            self._patience = SECONDS_AFTER_AN_INTERRUPT
        if kind is None or self._workdir.summary_file.exists():
            self.close("FINISHED")
        else:
            self.close("KILLED" if interrupted else "FAILED")

    def close(self, status: str) -> None:
        """Publish what is left, and end the run in MLflow with its status."""
        self.catch_up()
        publisher = self._publisher
        if publisher is None or self._late:
            return

        def finish() -> None:
            try:
                publisher.artifact(self._workdir.report, "report")
                publisher.close(status)
                _write_record(self._workdir, self._uri, publisher.run_id, complete=True)
            except (TrackingError, StoreError) as failure:
                self._warn(f"MLflow does not have all of this run. {failure}")

        self._wait_for(finish)

    @property
    def run_id(self) -> str | None:
        """The MLflow run, of this attempt or an earlier one; None if there is none (yet)."""
        return _read_record(self._workdir).get("run_id")

    def conclude(self) -> Conclusion | None:
        """Register the policy that the run ends with, and act on what a gate decided; None where there is no policy, or
        MLflow is away."""
        what = last_judged(self._workdir.journal)
        name = self._workdir.settings.registered_model
        publisher = self._publisher
        concluded: list[Conclusion] = []
        if publisher is None or self._late or what is None or not name:
            return None

        def register() -> None:
            try:
                made_from = read_metadata(what.prompts)
                what.inputs_sha256 = inputs_sha256(self._workdir.settings.model_dump(mode="json"), made_from)
                concluded.append(publisher.conclude(name, what))
            except UserError as failure:
                self._warn(f"the policy is not registered in MLflow. {failure}")

        self._wait_for(register)
        return concluded[0] if concluded else None

    def catch_up(self) -> None:
        """Wait until all that the tasks said is published, or the store has had its time; to be called when none runs
        any more.
        """
        self._stop.set()
        self._join(self._thread)

    def _wait_for(self, work: Callable[[], None]) -> None:
        """Do what asks the store, in a thread that can be left behind."""
        thread = threading.Thread(target=work, name="mlflow", daemon=True)
        thread.start()
        self._join(thread)

    def _join(self, thread: threading.Thread) -> None:
        now = time.monotonic()
        self._deadline = now + self._patience if self._deadline is None else self._deadline
        thread.join(max(0.0, self._deadline - now))
        if thread.is_alive() and not self._late:
            self._late = True
            self._left_behind(thread)
            self._warn(
                f"MLflow does not have all of this run after {self._patience:g} s, and is no longer waited for "
                f"({masked(self._uri)}). Give it what is missing with: advantageflow sync {self._workdir.root}"
            )

    def _publish(self) -> None:
        settings, images = self._workdir.settings, read_runner(self._workdir).images
        started = None
        for event in self._events():
            started = started or event["time"]
            if event.get("unit") == "images":
                break
        if self._patience == SECONDS_AFTER_AN_INTERRUPT:
            return  # too short for what takes seconds: the next attempt, or `sync_run`, brings all of it
        try:
            publisher = Publisher(
                self._uri,
                settings.tracking.experiment,
                run_title(settings.model_dump(mode="json")),
                settings.model_dump(mode="json"),
                {
                    "preset": settings.preset,
                    "seed": str(settings.seed),
                    "workdir": str(self._workdir.root),
                    **({"mlflow.note.content": settings.tracking.note} if settings.tracking.note else {}),
                    **({"images": " ".join(dict.fromkeys(images.values()))} if images else {}),
                },
                run_id=self.run_id,
                started=started,
                opened=partial(_write_record, self._workdir, self._uri, complete=False),
            )
        except (TrackingError, StoreError) as failure:
            later = f"bring it there later with: advantageflow sync {self._workdir.root}"
            self._warn(f"this run is not recorded in MLflow; {later}. {failure}")
            return
        self._publisher = publisher
        if self._others:
            left = (folder for folder in publisher.unfinished() if not self._stop.is_set())  # what is left is its own
            sync_left(left, logger.warning)
        publisher.consume(self._events())

    def _events(self) -> Iterator[Event]:
        """Those of all attempts, until no task writes any more."""
        return tail(self._workdir.journal, self._stop)


def deliver(tracking: RunTracking, workdir: WorkDir, summary: dict[str, Any]) -> dict[str, Any]:
    """Bring a complete run to MLflow; gives its summary with what became of it there, written again."""
    tracking.catch_up()
    conclusion = None if "outcome" in summary else tracking.conclude()
    outcome = {} if conclusion is None else {"registered": conclusion.address, "outcome": str(conclusion)}
    summary = {**summary, "mlflow_run_id": tracking.run_id, **outcome}
    write_json(workdir.summary_file, summary)
    return summary


def is_delivered(workdir: WorkDir) -> bool:
    """Whether MLflow has all of a run, or nothing is known of a part that it lacks."""
    return bool(_read_record(workdir).get("complete", True))


def sync_run(workdir: WorkDir, uri: str, warn: Callable[[str], None], patience: float = SECONDS_AT_THE_END) -> bool:
    """Bring to MLflow what it lacks of a run that nothing works on; returns whether it has all of it then.
    Raises StoreError: another process runs in the working folder; the summary is damaged.
    """
    with locked(workdir) as until_ended:
        summary, events = read_summary(workdir), read_events(workdir.journal)
        tracking = RunTracking(uri, workdir, warn, patience, left_behind=until_ended)
        tracking.__enter__()
        if summary is not None:
            deliver(tracking, workdir, summary)
            tracking.close("FINISHED")
        else:
            tracking.close("FAILED" if events and events[-1]["event"] == "error" else "KILLED")
        return tracking.run_id is not None and is_delivered(workdir)


def sync_left(folders: Iterable[Path], warn: Callable[[str], None]) -> list[str]:
    """Bring to MLflow what it lacks of runs that were killed outright, or that it was away for; gives their names.

    Args:
        folders: working folders; one that another process works on, or that holds no run, is passed over.
    """
    brought = []
    for folder in folders:
        if is_delivered(WorkDir(folder)):
            continue
        try:
            workdir = open_workdir(folder)
            if not sync_run(workdir, tracking_uri(workdir, folder.parent), warn, _SECONDS_FOR_ANOTHER):
                break  # it is away for the others too
            brought.append(folder.name)
        except (UserError, OSError):
            continue
        except Exception as error:  # of damaged files: the run that looks after them must not lose its own records
            warn(f"{folder} is not brought to MLflow: {type(error).__name__}: {error}")
    return brought


def _read_record(workdir: WorkDir) -> dict[str, Any]:
    path = workdir.root / _RECORD_FILE
    if not path.exists():
        return {}
    try:
        record = read_json(path)
        if not isinstance(record.get("run_id"), str | None) or not isinstance(record.get("tracking_uri"), str):
            raise StoreError("not the record of a run", where=str(path), remedy="")
        return record
    except StoreError as error:  # an older version did not write it in one step
        logger.warning("%s: %s; the run gets a new one in MLflow", path, error.message)
        path.unlink()
        return {}


def _write_record(workdir: WorkDir, uri: str, run_id: str | None, *, complete: bool) -> None:
    write_json(workdir.root / _RECORD_FILE, {"tracking_uri": masked(uri), "run_id": run_id, "complete": complete})
