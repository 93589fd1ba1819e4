"""A task on a cluster that publishes itself to MLflow as it goes, as no process there sees all tasks."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from advantageflow.annotations import MlflowClient
from advantageflow.errors import TrackingError
from advantageflow.tracking import pipeline_run
from advantageflow.tracking.events import TRACKING_ENV, Event, read_events, tail
from advantageflow.tracking.lifecycle import settle_again
from advantageflow.tracking.mlflow_store import RUN_ENV, home_experiment, open_client, tracking_errors
from advantageflow.tracking.recorder import Recorder, run_name
from advantageflow.tracking.registration import last_judged, register
from advantageflow.tracking.ui import mlflow_address

T = TypeVar("T")

_WAITS = (2.0, 4.0, 8.0, 16.0, 32.0, 60.0)  # seconds between tries while MLflow is away, the last one again and again
_FAILURES_IN_A_ROW = 3  # at the task's end; then the rest is left unpublished
SECONDS_AT_THE_END = 300.0  # for what is left to be published, its files too


@contextmanager
def publishing_task(folder: Path) -> Iterator[None]:
    """Publish one task's journal to MLFLOW_TRACKING_URI while it is written, and say where it is found there.

    With MLFLOW_RUN_ID, that run is the task's (Kubeflow's plug-in for MLflow opened it); else the task's run becomes a
    child of the run tagged with the pipeline run of ADVANTAGEFLOW_PIPELINE_RUN_ID. It is there from the task's start,
    so that a task which is killed has a run that never ended. A store that is away is waited for while the task works.
    A failure is told, never raised: the task's outputs are worth more than its records.
    """
    import_module("mlflow")  # here, as an import in the thread would meet the stage's own
    publisher = _TaskPublisher(folder)
    publisher.thread.start()
    try:
        yield
    finally:
        publisher.stop.set()
        publisher.thread.join(SECONDS_AT_THE_END)
        publisher.tell()


class _TaskPublisher:
    """The thread that publishes, and what it could not."""

    def __init__(self, folder: Path) -> None:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._publish, name="mlflow", daemon=True)
        self._folder = folder
        self._tracking_uri = os.environ[TRACKING_ENV]
        self._recorder: Recorder | None = None
        self._failure: Exception | None = None  # the first
        self._in_a_row = 0

    def tell(self) -> None:
        """Tell where the task and its pipeline's run are in MLflow, in the log and on the task's pages, or why not."""
        if self.thread.is_alive():
            late = f"warning: MLflow does not have all of this task after {SECONDS_AT_THE_END:g} s; the rest is lost"
            print(late, file=sys.stderr, flush=True)
            return
        if self._failure is not None:
            try:
                with tracking_errors(self._tracking_uri):
                    raise self._failure
            except TrackingError as error:
                what = "not in MLflow" if self._recorder is None else "not wholly in MLflow"
                print(f"warning: this task is {what}. {error}", file=sys.stderr, flush=True)
        if self._recorder is not None:
            _link(self._tracking_uri, self._recorder, read_events(self._folder))

    def _publish(self) -> None:
        try:
            client = self._patiently(partial(open_client, self._tracking_uri))
            self._recorder = recorder = self._patiently(partial(_recorder, client, self._tracking_uri))
        except Exception as error:
            self._failure = error
            return
        name = None
        for event in tail(self._folder, self.stop):
            name = run_name(event) if event["event"] == "start" else name
            if recorder.takes(event):
                self._try(partial(recorder.record, event))
        self._try(recorder.write_seconds)
        self._try(recorder.finish)
        if recorder.parent_id and name:
            self._try(partial(self._register, client, recorder, name))
        if recorder.parent_id and name and not os.environ.get(RUN_ENV):
            self._try(partial(settle_again, client, recorder.parent_id, name))

    def _register(self, client: MlflowClient, recorder: Recorder, name: str) -> None:
        """Register the policy that the task judged, if it ends the work of the pipeline's run."""
        run = client.get_run(str(recorder.parent_id))
        model = run.data.tags.get(pipeline_run.REGISTERED_MODEL_TAG)
        what = last_judged(self._folder)
        if model and what is not None and run.data.tags.get(pipeline_run.LAST_TASK_TAG) == name:
            version = register(client, run, model, what)
            print(f"MLflow: the policy is models:/{model}/{version.version}", file=sys.stderr, flush=True)

    def _try(self, work: Callable[[], None]) -> None:
        """Do what may fail without cost to the task."""
        if self.stop.is_set() and self._in_a_row >= _FAILURES_IN_A_ROW:
            return
        try:
            self._patiently(work)
            self._in_a_row = 0
        except Exception as error:
            self._failure = self._failure or error
            self._in_a_row += 1

    def _patiently(self, work: Callable[[], T]) -> T:
        """What `work` gives; again while MLflow is away and the task goes on."""
        tries = 0
        while True:
            last = self.stop.is_set()
            try:
                return work()
            except Exception as error:
                if last or not _away(error):
                    raise
            self.stop.wait(_WAITS[min(tries, len(_WAITS) - 1)])
            tries += 1


def _away(error: Exception) -> bool:
    """Whether MLflow could not answer, rather than refuse."""
    from mlflow.exceptions import MlflowException

    cause = error.__cause__ if isinstance(error, TrackingError) else error
    return isinstance(cause, MlflowException) and cause.get_http_status_code() >= 500


def _recorder(client: MlflowClient, tracking_uri: str) -> Recorder:
    """A recorder for the one task."""
    task, pipeline = os.environ.get(RUN_ENV), os.environ.get(pipeline_run.PIPELINE_RUN_ENV)
    with tracking_errors(tracking_uri):
        if task:
            run = client.get_run(task)
            return Recorder(client, run.info.experiment_id, run.data.tags.get("mlflow.parentRunId"), task_run_id=task)
        home = home_experiment(client, tracking_uri)
        if not pipeline:
            return Recorder(client, home, None)
        whole = pipeline_run.find_pipeline_run(client, pipeline)
        if whole is None:
            print("warning: the pipeline's run is not in MLflow; this task stands there alone", file=sys.stderr)
            return Recorder(client, home, None)
        if whole.info.status != "RUNNING" and pipeline_run.FINAL_STATE_TAG in whole.data.tags:
            client.update_run(whole.info.run_id, status="RUNNING")  # Kubeflow retries the pipeline run
        return Recorder(client, whole.info.experiment_id, whole.info.run_id)


def _link(tracking_uri: str, recorder: Recorder, events: list[Event]) -> None:
    """Say in the log, and at the end of the task's pages, where it is in MLflow."""
    runs = {"this task": recorder.last_run_id, "the whole run": recorder.parent_id}
    addresses = {name: mlflow_address(tracking_uri, recorder.experiment_id, run) for name, run in runs.items() if run}
    links = {name: address for name, address in addresses.items() if address}
    for name, address in links.items():
        print(f"MLflow: {name}: {address}", file=sys.stderr, flush=True)
    named = ", ".join(f'<a href="{escape(address)}">{name}</a>' for name, address in links.items())
    for page in (Path(event["path"]) for event in events if event["event"] == "page" and links):
        head, end, tail = page.read_text(encoding="utf-8").rpartition("</main>")
        page.write_text(f"{head}<p>In MLflow: {named}</p>\n{end}{tail}", encoding="utf-8")
