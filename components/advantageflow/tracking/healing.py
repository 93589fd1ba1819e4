"""Closing in MLflow the runs that nobody could close: cancelled ones, retried ones, those that a cluster gave up."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from advantageflow.errors import TrackingError
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.kubeflow import ask_state, mlflow_status
from advantageflow.tracking.mlflow_store import open_client, patiently, tracking_errors
from advantageflow.tracking.pipeline_run import (
    FINAL_STATE_TAG,
    PIPELINE_RUN_ENV,
    PIPELINE_RUN_TAG,
    close,
    newest_pipeline_runs,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_SECONDS = 10.0  # for all questions together
_QUESTIONS = 20


def on_pipeline_run(work: Callable[[MlflowClient, str, str], str], warning: str) -> None:
    """Do something with the MLflow run of this process's pipeline run, and heal those of others; for a pipeline's own
    first and last task. A failure is told, never raised.

    Args:
        work: takes client, tracking URI and pipeline run; gives what to say of it. Again while MLflow is away.
        warning: what it means if MLflow stays away.
    """
    tracking_uri, pipeline = os.environ.get(TRACKING_ENV), os.environ.get(PIPELINE_RUN_ENV)
    if not tracking_uri or not pipeline:
        return

    def work_and_heal() -> None:
        client = open_client(tracking_uri)
        with tracking_errors(tracking_uri):
            said = work(client, tracking_uri, pipeline)
        for line in (said, *heal(client, {}, ask_state)):
            print(f"MLflow: {line}", file=sys.stderr, flush=True)

    try:
        patiently(work_and_heal)
    except TrackingError as error:
        print(f"warning: {warning}. {error}", file=sys.stderr, flush=True)


def heal(client: MlflowClient, known: Mapping[str, str], ask: Callable[[str], str | None]) -> list[str]:
    """Give the newest pipeline runs in MLflow the status that their state in Kubeflow means.

    Args:
        client: of the store.
        known: true states of pipeline runs by their id.
        ask: gives the true state of another one, None where it cannot; asked only of runs that are open or whose end
            is in doubt, at most 20 times and no longer than 10 seconds.

    Returns:
        What was changed, a line for each run.

    Raises:
        TrackingError: MLflow cannot be read or written.
    """
    deadline, questions, healed = time.monotonic() + _SECONDS, 0, []
    with tracking_errors(client.tracking_uri):
        for run in newest_pipeline_runs(client):
            pipeline = run.data.tags[PIPELINE_RUN_TAG]
            state = known.get(pipeline)
            if state is None and _in_doubt(run) and questions < _QUESTIONS and time.monotonic() < deadline:
                questions += 1
                state = ask(pipeline)
            status = mlflow_status(state or "")
            if state is None or status is None or not (_in_doubt(run) or _told(run) != status):
                continue
            if run.info.status != status:
                was, name = run.info.status, run.info.run_name
                healed.append(f"'{name}' was {was} and is {status} now, as Kubeflow says {state}")
            close(client, run, status, state)
    return healed


def _in_doubt(run: Run) -> bool:
    """Whether the run is open, or was closed by a state that decides nothing."""
    return run.info.status == "RUNNING" or _told(run) is None


def _told(run: Run) -> str | None:
    """The status by the state that the run was closed with: its own may be worse, where a stage's run says so."""
    return mlflow_status(run.data.tags.get(FINAL_STATE_TAG, ""))
