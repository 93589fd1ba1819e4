"""A task on a cluster that publishes itself to MLflow at its end, as no process there sees all tasks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.errors import TrackingError
from advantageflow.tracking.events import TRACKING_ENV, Event
from advantageflow.tracking.links import add_links, mlflow_address
from advantageflow.tracking.mlflow_store import RUN_ENV, home_experiment, open_client, tracking_errors
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV, pipeline_run
from advantageflow.tracking.reading import read_events
from advantageflow.tracking.recorder import Recorder, log_params, named_sections

if TYPE_CHECKING:
    from mlflow import MlflowClient


def publish_at_end(folder: Path) -> None:
    """Publish one task's journal to MLFLOW_TRACKING_URI, in the task itself, and say where it is found there.

    With MLFLOW_RUN_ID, that run is the task's (Kubeflow's plug-in for MLflow opened it); else the task's run becomes a
    child of the run tagged with the pipeline run of ADVANTAGEFLOW_PIPELINE_RUN_ID. A failure is told, never raised: the
    task's outputs are worth more than its records.
    """
    tracking_uri = os.environ[TRACKING_ENV]
    try:
        client = open_client(tracking_uri)
        with tracking_errors(tracking_uri):
            events = read_events(folder)
            recorder = _recorder(client, tracking_uri, events[0])
            for event in filter(recorder.takes, events):
                recorder.record(event)
            recorder.finish()
    except TrackingError as error:
        print(f"warning: this task is not in MLflow. {error}", file=sys.stderr, flush=True)
        return
    _link(tracking_uri, recorder, events)


def _recorder(client: MlflowClient, tracking_uri: str, start: Event) -> Recorder:
    """A recorder for the one task, which has made its settings those of the pipeline's run too."""
    run_id = os.environ.get(RUN_ENV)
    if run_id:
        run = client.get_run(run_id)
        experiment, parent = run.info.experiment_id, run.data.tags.get("mlflow.parentRunId")
    else:
        experiment, parent = home_experiment(client, tracking_uri), None
        pipeline = os.environ.get(PIPELINE_RUN_ENV)
        if pipeline:
            found = pipeline_run(client, experiment, pipeline, _seed_tag(start))
            experiment, parent = found.info.experiment_id, found.info.run_id
    if parent:
        log_params(client, parent, named_sections(start))
    return Recorder(client, experiment, parent, task_run_id=run_id)


def _seed_tag(start: Event) -> dict[str, str]:
    return {"seed": str(start["settings"]["seed"])} if "seed" in start["settings"] else {}


def _link(tracking_uri: str, recorder: Recorder, events: list[Event]) -> None:
    """Tell where the task and its pipeline's run are in MLflow: in the log, and on the pages that the task made."""
    runs = {"this task": recorder.last_run_id, "the whole run": recorder.parent_id}
    addresses = {name: mlflow_address(tracking_uri, recorder.experiment_id, run) for name, run in runs.items() if run}
    links = {name: address for name, address in addresses.items() if address}
    if not links:
        return
    for name, address in links.items():
        print(f"MLflow: {name}: {address}", file=sys.stderr, flush=True)
    for event in events:
        if event["event"] == "page":
            add_links(Path(event["path"]), links)
