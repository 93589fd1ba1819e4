"""What Kubeflow says of a pipeline run, in its words and in MLflow's, and a task's way to ask it."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path

API_ENV = "KF_PIPELINES_ENDPOINT"  # these two are Kubeflow's own names
TOKEN_ENV = "KF_PIPELINES_SA_TOKEN_PATH"
TOKEN_FILE = Path("/var/run/secrets/kubeflow/pipelines/token")  # where Kubeflow mounts it, for several users
IN_CLUSTER_API = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
CANCELED = "CANCELED"
CANCELING = "CANCELING"

_TIMEOUT = 3.0  # seconds
_STATUS = {
    "SUCCEEDED": "FINISHED",
    "COMPLETE": "FINISHED",  # the word that the task after all others gets
    "CACHED": "FINISHED",
    "FAILED": "FAILED",
    "ERROR": "FAILED",
    CANCELED: "KILLED",
    "CANCELLED": "KILLED",
}


def mlflow_status(state: str) -> str | None:
    """MLflow's word for a run's state in Kubeflow; None for a run that goes on, and for a word that decides nothing."""
    return _STATUS.get(state)


def true_state(state: str, history: Iterable[str | None]) -> str:
    """A run's state, with the states that it had before: Kubeflow ends a cancelled run as CANCELING, then FAILED."""
    return CANCELED if state == "FAILED" and CANCELING in set(history) else state


def ask_state(pipeline: str) -> str | None:
    """A pipeline run's true state by the API server of the cluster that this task runs in; None where it gives none.

    The server is that of KF_PIPELINES_ENDPOINT, else the one that Kubeflow's own programs ask.
    """
    address = f"{os.environ.get(API_ENV, IN_CLUSTER_API).rstrip('/')}/apis/v2beta1/runs/{pipeline}"
    try:
        request = urllib.request.Request(address, headers=_credentials())
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            run = json.load(answer)
        history = [entry.get("state") for entry in run.get("state_history") or []]
        return true_state(run["state"], history)
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError):
        return None  # away, unknown to this server, or no answer of Kubeflow's: nothing is known


def _credentials() -> dict[str, str]:
    file = Path(os.environ.get(TOKEN_ENV, TOKEN_FILE))
    return {"Authorization": f"Bearer {file.read_text().strip()}"} if file.is_file() else {}
