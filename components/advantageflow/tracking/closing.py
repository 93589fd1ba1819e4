"""Ending a pipeline's run in MLflow with what became of it in Kubeflow: by its last task, or by a task of a retry."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from advantageflow.errors import TrackingError
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.healing import heal
from advantageflow.tracking.kubeflow import CANCELED, CANCELING, ask_state, mlflow_status
from advantageflow.tracking.mlflow_store import RUN_ENV, open_client, patiently, tracking_errors
from advantageflow.tracking.pipeline_run import (
    FINAL_STATE_TAG,
    LAST_TASK_TAG,
    PIPELINE_RUN_ENV,
    close,
    failed_tasks,
    find_or_open,
    last_attempts,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


def close_pipeline_run(state: str | None, message: str | None) -> None:
    """End a pipeline's run with its final status, from the task that Kubeflow runs last whatever happened before.

    Kubeflow gives that task COMPLETE after success, FAILED after a stage's own error, and RUNNING where a container was
    killed, where its API server was away as a task ended, and where the run is being cancelled.

    Where Kubeflow's plug-in opened the run, it also closes it. A failure is told, never raised.

    Args:
        state: of the pipeline, in Kubeflow's words.
        message: what failed, where Kubeflow says it.
    """
    tracking_uri, pipeline = os.environ.get(TRACKING_ENV), os.environ.get(PIPELINE_RUN_ENV)
    if not tracking_uri or not pipeline or os.environ.get(RUN_ENV):
        return

    def work() -> None:
        client = open_client(tracking_uri)
        with tracking_errors(tracking_uri):
            run = find_or_open(client, tracking_uri, pipeline, {})  # opened here if MLflow was away before
            status, known = _verdict(pipeline, state or "unknown", bool(failed_tasks(last_attempts(client, run))))
            close(client, run, status, known, message)
        print(f"MLflow: this run is {status}", file=sys.stderr, flush=True)
        for healed in heal(client, {}, ask_state):
            print(f"MLflow: {healed}", file=sys.stderr, flush=True)

    try:
        patiently(work)
    except TrackingError as error:
        print(f"warning: the run stays open in MLflow. {error}", file=sys.stderr, flush=True)


def _verdict(pipeline: str, state: str, any_failed: bool) -> tuple[str, str]:
    """MLflow's status, and the state of Kubeflow's by which it is known.

    Where that decides nothing and the API server cannot be asked, the state is kept as it is, so that others ask later.
    """
    status = mlflow_status(state)
    if status == "FINISHED":
        return ("FAILED" if any_failed else status), state
    asked = ask_state(pipeline)
    if status == "KILLED" or asked in (CANCELING, CANCELED):
        return "KILLED", CANCELED
    return "FAILED", ("FAILED" if asked or status == "FAILED" else state)


def settle_again(client: MlflowClient, run_id: str, task: str) -> None:
    """After a task's end: end the pipeline's run if it was closed before, as the closing task comes only once.

    That is so where a person has Kubeflow retry a run that failed: it remakes what failed, without the closing task.

    Args:
        client: of the store.
        run_id: of the pipeline.
        task: name of the task's run.
    """
    run = client.get_run(run_id)
    if FINAL_STATE_TAG not in run.data.tags:
        return
    attempts = last_attempts(client, run)
    if attempts[task].info.status == "FAILED":
        close(client, run, "FAILED", "FAILED")
        return
    all_finished = all(one.info.status == "FINISHED" for one in attempts.values())
    if all_finished and run.data.tags.get(LAST_TASK_TAG) in attempts:
        close(client, run, "FINISHED", "SUCCEEDED")
