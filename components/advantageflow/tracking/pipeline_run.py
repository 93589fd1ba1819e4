"""The MLflow run of a whole pipeline run on a cluster: tasks that know nothing of each other find it by its tag."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from advantageflow.errors import TrackingError
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.links import pipeline_address
from advantageflow.tracking.mlflow_store import RUN_ENV, home_experiment, open_client, tracking_errors
from advantageflow.tracking.provenance import provenance

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PIPELINE_RUN_ENV = "ADVANTAGEFLOW_PIPELINE_RUN_ID"  # the Kubeflow run
PRESET_ENV = "ADVANTAGEFLOW_PRESET"
PIPELINE_RUN_TAG = "kfp.pipeline_run_id"  # these two are named as Kubeflow's own plug-in for MLflow names them
PIPELINE_URL_TAG = "kfp.pipeline_run_url"
FINAL_STATE_TAG = "kfp.final_state"

_CANDIDATE = "advantageflow.candidate"  # a run that becomes the pipeline's, unless another task's does
_PATIENCE = 60.0  # seconds; a task decides within a few requests, unless it dies at it
_STATUS = {
    "SUCCEEDED": "FINISHED",
    "COMPLETE": "FINISHED",
    "CACHED": "FINISHED",
    "FAILED": "FAILED",
    "ERROR": "FAILED",
    "CANCELLED": "KILLED",
    "CANCELED": "KILLED",
}


def pipeline_run(client: MlflowClient, experiment: str, pipeline: str, tags: Mapping[str, str]) -> Run:
    """The MLflow run of a pipeline run: found by its tag, else opened.

    MLflow makes no run only if there is none, so tasks that start at the same time each open a candidate, and all but
    one take theirs back. A candidate becomes the run when its task sees no other: of two tasks, the one that looks
    later sees the other's, so at most one is sure. Where each sees the other's, the one with the larger id gives way.

    Args:
        client: of the store.
        experiment: where to look first, and to open it.
        pipeline: id of the pipeline run.
        tags: of a run that is opened, beside its origin.
    """
    found = _decided(_tagged(client, [experiment], pipeline)) or _elsewhere(client, pipeline)
    if found is None:
        found = _open(client, experiment, pipeline, tags)
    elif found.info.status != "RUNNING" and found.data.tags.get(FINAL_STATE_TAG):
        client.update_run(found.info.run_id, status="RUNNING")  # closed by an earlier attempt at the pipeline run
    return found


def close_pipeline_run(state: str | None, message: str | None) -> None:
    """End a pipeline's run with its final status, from the task that Kubeflow runs last whatever happened before.

    Where Kubeflow's plug-in opened the run, it also closes it. A failure is told, never raised.

    Args:
        state: of the pipeline, in Kubeflow's words.
        message: what failed, where Kubeflow says it.
    """
    tracking_uri, pipeline = os.environ.get(TRACKING_ENV), os.environ.get(PIPELINE_RUN_ENV)
    if not tracking_uri or not pipeline or os.environ.get(RUN_ENV):
        return
    try:
        client = open_client(tracking_uri)
        with tracking_errors(tracking_uri):
            found = _decided(_tagged(client, [home_experiment(client, tracking_uri)], pipeline))
            if found is not None:
                _close(client, found, state, message)
    except TrackingError as error:
        print(f"warning: the run stays open in MLflow. {error}", file=sys.stderr, flush=True)


def _tagged(client: MlflowClient, experiments: list[str], pipeline: str) -> list[Run]:
    """The runs and candidates of a pipeline run, by id."""
    runs = client.search_runs(experiments, f"tags.`{PIPELINE_RUN_TAG}` = '{pipeline}'")
    return sorted(runs, key=lambda run: str(run.info.run_id))


def _decided(runs: list[Run]) -> Run | None:
    return next((run for run in runs if _CANDIDATE not in run.data.tags), None)


def _elsewhere(client: MlflowClient, pipeline: str) -> Run | None:
    """The run in another experiment: Kubeflow's plug-in opens it in one of its own, and need not tell the tasks."""
    experiments: list[str] = []
    page = None
    while True:
        found = client.search_experiments(page_token=page)
        experiments += [experiment.experiment_id for experiment in found]
        page = found.token
        if not page:
            return _decided(_tagged(client, experiments, pipeline))


def _open(client: MlflowClient, experiment: str, pipeline: str, tags: Mapping[str, str]) -> Run:
    preset, address = os.environ.get(PRESET_ENV), pipeline_address(pipeline)
    origin = {PIPELINE_RUN_TAG: pipeline, _CANDIDATE: "true"}
    origin |= {"preset": preset} if preset else {}
    origin |= {PIPELINE_URL_TAG: address} if address else {}
    name = f"{preset or 'pipeline'} {pipeline}"
    mine = client.create_run(experiment, tags={**provenance(), **tags, **origin}, run_name=name)
    deadline = time.monotonic() + _PATIENCE
    while True:
        runs = _tagged(client, [experiment], pipeline)
        ids = [run.info.run_id for run in runs]
        chosen = _decided(runs)
        if chosen is None and (ids == [mine.info.run_id] or time.monotonic() > deadline):
            chosen = runs[0]  # after the deadline: that of a task which died, or does not answer
            client.delete_tag(chosen.info.run_id, _CANDIDATE)
        if mine.info.run_id in ids and (chosen or runs[0]).info.run_id != mine.info.run_id:
            client.delete_run(mine.info.run_id)
        if chosen is not None:
            return chosen
        time.sleep(0.1)


def _close(client: MlflowClient, run: Run, state: str | None, message: str | None) -> None:
    """An unknown state (Kubeflow has told 'RUNNING' of pipelines that had ended) is read off the tasks' own runs."""
    status = _STATUS.get(state or "") or _status_of_tasks(client, run)
    client.set_tag(run.info.run_id, FINAL_STATE_TAG, state or "unknown")
    if message:
        client.set_tag(run.info.run_id, "error", message[:5000])
    client.set_terminated(run.info.run_id, status)


def _status_of_tasks(client: MlflowClient, run: Run) -> str:
    """FAILED if a task's last attempt did not finish."""
    tagged = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    children = client.search_runs([run.info.experiment_id], tagged, max_results=10_000)
    in_order = sorted(children, key=lambda child: (child.info.start_time, child.info.end_time or math.inf))
    last = {child.info.run_name: child.info.status for child in in_order}
    return "FINISHED" if set(last.values()) <= {"FINISHED"} else "FAILED"
