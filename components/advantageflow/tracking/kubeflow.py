"""What Kubeflow says of a pipeline run, in its words and in MLflow's, and a task's way to ask it."""

import json
import os
import urllib.request
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

KFP_URL_ENV = "ADVANTAGEFLOW_KFP_URL"  # where a browser finds Kubeflow's pages
API_ENV = "KF_PIPELINES_ENDPOINT"  # these two are Kubeflow's own names
TOKEN_ENV = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105 - the name of a variable
TOKEN_FILE = Path("/var/run/secrets/kubeflow/pipelines/token")  # where Kubeflow mounts it, for several users
IN_CLUSTER_API = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
CANCELED = "CANCELED"
CANCELING = "CANCELING"
ENDED = ("SUCCEEDED", "FAILED", CANCELED, "SKIPPED")  # states in which nothing more will happen

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


def pipeline_address(pipeline: str) -> str | None:
    """The page of a Kubeflow run, for people; None where nobody said where Kubeflow's pages are."""
    base = os.environ.get(KFP_URL_ENV)
    return f"{base.rstrip('/')}/#/runs/details/{pipeline}" if base else None


def ask_state(pipeline: str) -> str | None:
    """A pipeline run's true state by the API server of the cluster that this task runs in; None where it gives none."""
    try:
        run = ask(f"runs/{pipeline}", seconds=_TIMEOUT)
        history = [entry.get("state") for entry in run.get("state_history") or []]
        return true_state(run["state"], history)
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError):
        return None  # away, unknown to this server, or no answer of Kubeflow's: nothing is known


def ask(path: str, body: Mapping[str, Any] | None = None, *, seconds: float) -> dict[str, Any]:
    """What the API server of the cluster that this task runs in answers.

    The server is that of KF_PIPELINES_ENDPOINT, else the one that Kubeflow's own programs ask; a body is posted.

    Raises:
        OSError: no answer came, or a refusal (HTTPError).
        HTTPException, ValueError: the answer is not the API's.
    """
    address = f"{os.environ.get(API_ENV, IN_CLUSTER_API).rstrip('/')}/apis/v2beta1/{path}"
    file = Path(os.environ.get(TOKEN_ENV, TOKEN_FILE))
    headers = {"Content-Type": "application/json"}
    if file.is_file():
        headers["Authorization"] = f"Bearer {file.read_text().strip()}"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=seconds) as answer:  # noqa: S310 - an address of the cluster's own
        found = json.load(answer)
    if not isinstance(found, dict):
        raise ValueError("not an answer of Kubeflow's")
    return found
