"""A local run in MLflow: a thread that opens the store while the run starts, and publishes its journal as it grows."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from advantageflow.errors import TrackingError, UserError
from advantageflow.settings import RunSettings
from advantageflow.shown import masked
from advantageflow.store.files import read_metadata
from advantageflow.tracking.events import TRACKING_ENV, Event
from advantageflow.tracking.mlflow_store import sqlite_uri
from advantageflow.tracking.reading import read_events, tail
from advantageflow_pipelines.local.runners import images_of
from advantageflow_pipelines.local.workdir import WorkDir

if TYPE_CHECKING:
    from advantageflow.tracking.promotion import Conclusion
    from advantageflow.tracking.publisher import Publisher

STORE_FILE = "mlflow.db"
_RECORD_FILE = "mlflow.json"


def tracking_uri(workdir: WorkDir, runs: Path) -> str:
    """The store that the run was recorded in before; else MLFLOW_TRACKING_URI, or the file that `runs` share."""
    recorded, named = _read_record(workdir).get("tracking_uri"), os.environ.get(TRACKING_ENV)
    if named and recorded == masked(named):
        return named  # with its password, which is not kept
    return recorded or store_uri(runs)


def store_uri(runs: Path) -> str:
    """MLFLOW_TRACKING_URI, or the store that the runs of a folder share."""
    return os.environ.get(TRACKING_ENV) or sqlite_uri(runs / STORE_FILE)


class RunTracking:
    """Publishes one run: `with RunTracking(...) as tracking:` around it; how the block ends is the run's status.

    MLflow takes seconds to import and to create its store, in which no other Python runs in this process: that waits
    until images are being made, which torch does beside it. A store that fails costs the run nothing: it is told at
    once when it cannot be opened, else at the end.

    Args:
        uri: MLflow's store.
        workdir: the run; its MLflow run is remembered there, and continued by a later attempt.
        started: epoch seconds; events before it were published by an earlier attempt.
        warn: shows a message to the person.
    """

    def __init__(
        self, uri: str, workdir: WorkDir, settings: RunSettings, started: float, warn: Callable[[str], None]
    ) -> None:
        self._uri = uri
        self._workdir = workdir
        self._settings = settings
        self._started = started
        self._warn = warn
        self._stop = threading.Event()
        self._publisher: Publisher | None = None
        self._thread = threading.Thread(target=self._publish, name="mlflow", daemon=True)

    def __enter__(self) -> RunTracking:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.catch_up()
        if self._publisher is None:
            return
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        try:
            self._publisher.artifact(self._workdir.report, "report")
            self._publisher.close(status)
        except TrackingError as failure:
            self._warn(f"MLflow does not have all of this run. {failure}")

    @property
    def run_id(self) -> str | None:
        """The MLflow run, of this attempt or an earlier one; None if there is none (yet)."""
        return _read_record(self._workdir).get("run_id")

    def conclude(self) -> Conclusion | None:
        """Register the policy that the run ends with, and act on what a gate decided; None where there is no policy, or
        MLflow is away."""
        from advantageflow.tracking.changes import inputs_sha256
        from advantageflow.tracking.promotion import INPUTS_TAG
        from advantageflow.tracking.registration import from_event

        judged = [event for event in read_events(self._workdir.journal) if event["event"] == "policy"]
        name = self._settings.registered_model
        if self._publisher is None or not judged or not name:
            return None
        try:
            what = from_event(name, judged[-1])
            made_from = read_metadata(what.prompts)
            inputs = inputs_sha256(self._settings.model_dump(mode="json"), made_from)
            return self._publisher.conclude(replace(what, tags={INPUTS_TAG: inputs}), judged[-1]["decision"])
        except UserError as failure:
            self._warn(f"the policy is not registered in MLflow. {failure}")
            return None

    def catch_up(self) -> None:
        """Wait until all that the tasks said is published; to be called when none runs any more."""
        self._stop.set()
        self._thread.join()

    def _publish(self) -> None:
        from advantageflow.tracking.publisher import Publisher

        settings, images = self._settings, images_of(self._workdir)
        for event in self._events():
            if event.get("unit") == "images":
                break
        try:
            publisher = Publisher(
                self._uri,
                settings.tracking.experiment,
                self._workdir.root.name,
                settings.model_dump(mode="json"),
                {
                    "preset": settings.preset,
                    "seed": str(settings.seed),
                    "workdir": str(self._workdir.root),
                    **({"images": " ".join(dict.fromkeys(images.values()))} if images else {}),
                },
                run_id=self.run_id,
            )
            _write_record(self._workdir, self._uri, publisher.run_id)
        except (TrackingError, OSError) as failure:
            self._warn(f"this run is not recorded in MLflow. {failure}")
            return
        self._publisher = publisher
        publisher.consume(self._events())

    def _events(self) -> Iterator[Event]:
        """Those of this attempt, from its start, until no task writes any more."""
        return (event for event in tail(self._workdir.journal, self._stop) if event["time"] >= self._started)


def _read_record(workdir: WorkDir) -> dict[str, str]:
    path = workdir.root / _RECORD_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _write_record(workdir: WorkDir, uri: str, run_id: str) -> None:
    (workdir.root / _RECORD_FILE).write_text(json.dumps({"tracking_uri": masked(uri), "run_id": run_id}))
