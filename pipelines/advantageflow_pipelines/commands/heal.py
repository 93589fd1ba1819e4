"""What a cluster's runs are in MLflow, set right by a command that has just asked Kubeflow about them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from advantageflow.errors import ClusterError, TrackingError
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.runs import RunStatus, get_run
from advantageflow_pipelines.say import Console, say, warn


def heal_mlflow(api: Api, runs: Iterable[RunStatus], console: Console) -> None:
    """Give runs in MLflow the status that they have in Kubeflow, and say which were changed.

    Does nothing where MLFLOW_TRACKING_URI is not set; an MLflow that is away costs a warning.

    Args:
        api: of the server that runs the pipelines.
        runs: as it has just told them; it is asked about others that are open in MLflow.
        console: where lines are printed.
    """
    tracking_uri = os.environ.get(TRACKING_ENV)
    if not tracking_uri:
        return
    from advantageflow.tracking.closing import heal
    from advantageflow.tracking.mlflow_store import open_client

    states = {run.run_id: run.state for run in runs}
    try:
        client = open_client(tracking_uri)
        lines = heal(client, states, lambda one: _ask(api, one))
    except TrackingError as error:
        warn(console, f"runs may be open in MLflow that are over. {error}")
        return
    say(console, *(f"MLflow: {line}" for line in lines))


def _ask(api: Api, run_id: str) -> str | None:
    """The run's state; None where this server does not say, as of a run of another cluster."""
    try:
        return get_run(api, run_id).state
    except ClusterError:
        return None
