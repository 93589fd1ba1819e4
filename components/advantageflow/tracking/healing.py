"""Closing in MLflow the runs that nobody could close: cancelled ones, retried ones, those that a cluster gave up."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advantageflow.tracking.kubeflow import mlflow_status
from advantageflow.tracking.mlflow_store import tracking_errors
from advantageflow.tracking.pipeline_run import FINAL_STATE_TAG, PIPELINE_RUN_TAG, close, newest_pipeline_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_SECONDS = 10.0  # for all questions together
_QUESTIONS = 20


@dataclass(frozen=True)
class Healed:
    """A run whose status in MLflow was not the truth.

    Attributes:
        name: of the MLflow run.
        before: the status that it had.
        after: the one that it has now.
        state: the run's state in Kubeflow.
    """

    name: str
    before: str
    after: str
    state: str

    def __str__(self) -> str:
        return f"'{self.name}' was {self.before} and is {self.after} now, as Kubeflow says {self.state}"


def heal(client: MlflowClient, known: Mapping[str, str], ask: Callable[[str], str | None]) -> list[Healed]:
    """Give the newest pipeline runs in MLflow the status that their state in Kubeflow means.

    Args:
        client: of the store.
        known: true states of pipeline runs by their id.
        ask: gives the true state of another one, None where it cannot; asked only of runs that are open or whose end
            is in doubt, at most 20 times and no longer than 10 seconds.

    Returns:
        The runs that were changed.

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
                healed.append(Healed(run.info.run_name, run.info.status, status, state))
            close(client, run, status, state)
    return healed


def recorded_failures(client: MlflowClient, pipelines: Collection[str]) -> list[str]:
    """What MLflow knows of pipeline runs that failed: the stage and its error, where a stage could tell.

    Raises:
        TrackingError: MLflow cannot be read.
    """
    with tracking_errors(client.tracking_uri):
        runs = [run for run in newest_pipeline_runs(client) if run.data.tags[PIPELINE_RUN_TAG] in pipelines]
    return [run.data.tags["error"] for run in runs if "error" in run.data.tags]


def _in_doubt(run: Run) -> bool:
    """Whether the run is open, or was closed by a state that decides nothing."""
    return run.info.status == "RUNNING" or _told(run) is None


def _told(run: Run) -> str | None:
    """The status by the state that the run was closed with: its own may be worse, where a stage's run says so."""
    return mlflow_status(run.data.tags.get(FINAL_STATE_TAG, ""))
