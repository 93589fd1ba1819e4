"""Publishing a run to MLflow from its journals, in the process that started it or at the end of a task on a cluster."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import TrackingError
from advantageflow.tracking.journal import TRACKING_ENV, Event
from advantageflow.tracking.mlflow_store import experiment_id, first_line, open_client, tracking_errors
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV, PIPELINE_RUN_TAG
from advantageflow.tracking.provenance import provenance
from advantageflow.tracking.reading import read_events, tail
from advantageflow.tracking.recorder import Recorder, log_params, log_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Publisher", "publish_at_end", "tail"]

DEFAULT_EXPERIMENT = "advantageflow"
_FAILURES_IN_A_ROW = 3  # then the store is taken to be gone, and the rest is left unpublished

logger = logging.getLogger(__name__)


class Publisher:
    """The MLflow run of one pipeline run.

    Use it from one thread at a time: `consume(tail(folder, stop))` in a thread while the run goes on, then, when that
    has ended, `artifact` and `close`. A failing store never stops the run: `close` tells at the end.

    Args:
        tracking_uri: MLflow's store, for example sqlite_uri(path).
        experiment: its experiment, created if need be.
        run_name: name of the parent run.
        params: settings, nested.
        tags: for example seed and preset; provenance is added.
        run_id: the parent to resume; MLFLOW_RUN_ID when None; a new run when neither is given.

    Raises:
        TrackingError: the store cannot be opened.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        run_id: str | None = None,
    ) -> None:
        self._tracking_uri = tracking_uri
        self._failures: list[Exception] = []
        self._in_a_row = 0
        self._client = open_client(tracking_uri)
        run_id = run_id or os.environ.get("MLFLOW_RUN_ID")
        with tracking_errors(tracking_uri):
            if run_id:
                self.run_id = run_id
                self._client.update_run(run_id, status="RUNNING")
            else:
                experiment = experiment_id(self._client, tracking_uri, experiment)
                self.run_id = str(self._client.create_run(experiment, run_name=run_name).info.run_id)
            for name, value in (provenance() | dict(tags)).items():
                self._client.set_tag(self.run_id, name, value)
            log_params(self._client, self.run_id, params)
            home = self._client.get_run(self.run_id).info.experiment_id
        self._recorder = Recorder(self._client, str(home), self.run_id)

    def consume(self, events: Iterable[Event]) -> None:
        """Publish events as they come, until they end; failures are kept for `close`."""
        for event in events:
            if self._recorder.takes(event):
                self._try(self._recorder.record, event)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file or folder with the parent run, under `folder` of its artifacts."""
        self._try(log_path, self._client, self.run_id, path, folder)

    def close(self, status: str = "FINISHED") -> None:
        """End the parent run.

        Args:
            status: 'FINISHED', 'FAILED' or 'KILLED'.

        Raises:
            TrackingError: something could not be published.
        """
        self._try(self._recorder.finish)
        self._try(self._client.set_terminated, self.run_id, status)
        if self._failures:
            count, first = len(self._failures), first_line(self._failures[0])
            raise TrackingError(
                f"MLflow did not take {count} record(s) of this run; the first: {first}",
                where=self._tracking_uri,
                remedy="the run's results are complete in its working folder; check the store and its disk",
            ) from self._failures[0]

    def _try(self, write: Callable[..., None], *arguments: Any) -> None:
        if self._in_a_row >= _FAILURES_IN_A_ROW:
            return
        try:
            write(*arguments)
            self._in_a_row = 0
        except Exception as error:  # a record that fails must not cost the run
            logger.warning("MLflow: %s", first_line(error))
            self._failures.append(error)
            self._in_a_row += 1


def publish_at_end(folder: Path) -> None:
    """Publish one task's journal to MLFLOW_TRACKING_URI, in the task itself (on a cluster).

    With MLFLOW_RUN_ID, that run is the task's (KFP's MLflow plug-in opened it); else the task's run becomes a child of
    the run tagged with the pipeline run of ADVANTAGEFLOW_PIPELINE_RUN_ID. A failure is told, never raised: the task's
    outputs are worth more than its records.
    """
    tracking_uri = os.environ[TRACKING_ENV]
    try:
        client = open_client(tracking_uri)
        with tracking_errors(tracking_uri):
            recorder = _task_recorder(client, tracking_uri)
            for event in filter(recorder.takes, read_events(folder)):
                recorder.record(event)
            recorder.finish()
    except TrackingError as error:
        print(f"warning: this task is not in MLflow. {error}", file=sys.stderr, flush=True)


def _task_recorder(client: MlflowClient, tracking_uri: str) -> Recorder:
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id:
        run = client.get_run(run_id)
        parent = run.data.tags.get("mlflow.parentRunId")
        return Recorder(client, run.info.experiment_id, parent, task_run_id=run_id)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
    home = os.environ.get("MLFLOW_EXPERIMENT_ID") or experiment_id(client, tracking_uri, name)
    pipeline = os.environ.get(PIPELINE_RUN_ENV)
    return Recorder(client, home, _pipeline_parent(client, home, pipeline) if pipeline else None)


def _pipeline_parent(client: MlflowClient, home: str, pipeline: str) -> str:
    """The run of the whole pipeline; opened by the first task, the oldest if two opened one at the same time."""

    def oldest() -> str | None:
        tagged = f"tags.`{PIPELINE_RUN_TAG}` = '{pipeline}'"
        runs = client.search_runs([home], tagged, max_results=1, order_by=["attributes.start_time ASC"])
        return str(runs[0].info.run_id) if runs else None

    found = oldest()
    if found is None:
        client.create_run(home, tags={PIPELINE_RUN_TAG: pipeline, **provenance()}, run_name=f"pipeline {pipeline}")
        found = oldest()
    assert found is not None
    return found
