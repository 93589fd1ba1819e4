"""Ending a pipeline's run in MLflow with what became of it in Kubeflow: by its last task, or by a task of a retry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from advantageflow.tracking.healing import on_pipeline_run
from advantageflow.tracking.kubeflow import CANCELED, CANCELING, ask_state, mlflow_status
from advantageflow.tracking.mlflow_store import RUN_ENV
from advantageflow.tracking.pipeline_run import (
    FINAL_STATE_TAG,
    LAST_TASK_TAG,
    close,
    failed_tasks,
    find_or_open,
    last_attempts,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


def close_pipeline_run(state: str | None, message: str | None, first_run: str = "", *, goes_on: bool = False) -> None:
    """End a pipeline's run with its final status, from the task that Kubeflow runs last whatever happened before.

    Kubeflow gives that task COMPLETE after success, FAILED after a stage's own error, and RUNNING where a container was
    killed, where its API server was away as a task ended, and where the run is being cancelled.

    Where Kubeflow's plug-in opened the run, it also closes it. A failure is told, never raised.

    Args:
        state: of the pipeline, in Kubeflow's words.
        message: what failed, where Kubeflow says it.
        first_run: the pipeline run that this one continues; empty if none.
        goes_on: whether another one continues this one if all went well.
    """
    if os.environ.get(RUN_ENV) or (goes_on and mlflow_status(state or "") == "FINISHED"):
        return

    def work(client: MlflowClient, tracking_uri: str, pipeline: str) -> str:
        run = find_or_open(client, tracking_uri, pipeline, {}, first_run)  # opened here if MLflow was away before
        status, known = _verdict(pipeline, state or "unknown", bool(failed_tasks(last_attempts(client, run))))
        close(client, run, status, known, message)
        return f"this run is {status}"

    on_pipeline_run(work, "the run stays open in MLflow")


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
