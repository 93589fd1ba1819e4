"""An MLflow store, a tracking server or a local sqlite file: opening it, and keeping settings and files with a run."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from advantageflow.annotations import MlflowClient
from advantageflow.errors import TrackingError
from advantageflow.processes import no_collections
from advantageflow.shown import first_line

SQLITE = "sqlite:///"
RUN_ENV = "MLFLOW_RUN_ID"  # these are MLflow's own; Kubeflow's plug-in for MLflow sets the first and the last
EXPERIMENT_ENV = "MLFLOW_EXPERIMENT_NAME"
EXPERIMENT_ID_ENV = "MLFLOW_EXPERIMENT_ID"
DEFAULT_EXPERIMENT = "advantageflow"
LONGEST_PARAM = 6000  # MLflow's limits
_PARAMS_IN_A_BATCH = 100
WAITS = (5.0, 15.0, 30.0)  # seconds between tries at a store that is away, as when it is updated
_DEFAULTS = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # its database messages are no news to a person
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # nor are addresses of a server that only tasks can reach
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default waits minutes for a server that is not there
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # seconds without a byte, and for one that accepts and never answers
}


def sqlite_uri(path: Path) -> str:
    """The tracking URI of a local sqlite file."""
    return SQLITE + str(Path(path).absolute()).replace("%", "%25").replace("?", "%3F")  # as SQLAlchemy reads it


def open_client(tracking_uri: str) -> MlflowClient:
    """A client of the store at `tracking_uri`; a sqlite file is created if it does not exist.
    Raises TrackingError: the store cannot be reached, created or read.

    The client takes run ids explicitly and touches none of MLflow's global state, so threads may share it.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    with tracking_errors(tracking_uri), _one_creator(tracking_uri):
        with no_collections():  # imports; the store is waited for as ever, in a process that may train beside it
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri)
        client.search_experiments(max_results=1)
    return client


def experiment_id(client: MlflowClient, tracking_uri: str, name: str) -> str:
    """The id of the experiment, created if need be; pictures and files of a sqlite store lie beside it."""
    from mlflow.exceptions import MlflowException

    with tracking_errors(tracking_uri), _one_creator(tracking_uri):
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            if experiment.lifecycle_stage != "active":
                client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        tags = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow opens its pages on LLM traces
        try:
            location = _artifact_location(tracking_uri, name)
            return str(client.create_experiment(name, artifact_location=location, tags=tags))
        except MlflowException:
            made = client.get_experiment_by_name(name)  # by another task, at the same time
            if made is None:
                raise
            return str(made.experiment_id)


def home_experiment(client: MlflowClient, tracking_uri: str) -> str:
    """The id of the experiment that the environment names; the usual one if it names none."""
    named = os.environ.get(EXPERIMENT_ENV, DEFAULT_EXPERIMENT)
    return os.environ.get(EXPERIMENT_ID_ENV) or experiment_id(client, tracking_uri, named)


@contextmanager
def tracking_errors(tracking_uri: str) -> Iterator[None]:
    """Turn any failure of MLflow into a TrackingError that names the store."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # MLflow lets errors of SQLAlchemy, requests and the file system through
        remedy = "check that the tracking server runs, or that the sqlite file is whole and its folder writable"
        if getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            remedy = "check the name, and that this is the MLflow that you mean; `advantageflow ui` shows what it has"
        raise TrackingError(f"MLflow failed: {first_line(error)}", where=tracking_uri, remedy=remedy) from error


def patiently(work: Callable[[], None]) -> None:
    """Do `work`, again for about a minute while MLflow fails. Raises TrackingError: the last try's."""
    for wait in WAITS:
        try:
            return work()
        except TrackingError:
            time.sleep(wait)
    return work()


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Log nested settings as flat params ('rollout.steps'); params that a run has already are left alone."""
    from mlflow.entities import Param

    existing = client.get_run(run_id).data.params
    flat = [Param(name, value) for name, value in _flatten(params) if name not in existing]
    for first in range(0, len(flat), _PARAMS_IN_A_BATCH):
        client.log_batch(run_id, params=flat[first : first + _PARAMS_IN_A_BATCH])


def log_settings(client: MlflowClient, run_id: str, settings: Mapping[str, Any]) -> None:
    """Keep all settings of a pipeline's run, as params and as a file."""
    log_params(client, run_id, settings)
    client.log_dict(run_id, dict(settings), "settings.json")


def log_path(client: MlflowClient, run_id: str, path: Path, folder: str | None) -> None:
    """Keep a file, or all files of a folder, with a run."""
    if path.is_dir():
        client.log_artifacts(run_id, str(path), folder)
    else:
        client.log_artifact(run_id, str(path), folder)


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{prefix}{name}", text[:LONGEST_PARAM]


@contextmanager
def _one_creator(tracking_uri: str) -> Iterator[None]:
    """Let only one process at a time create tables in a sqlite file: MLflow fails when two do."""
    path = _sqlite_path(tracking_uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    written = Path(tracking_uri.removeprefix(SQLITE)).parent
    if written != path.parent:  # MLflow makes the folder of the address as it is written, too
        with suppress(OSError):
            os.removedirs(written)


def _artifact_location(tracking_uri: str, experiment: str) -> str | None:
    path = _sqlite_path(tracking_uri)
    if path is None:
        return None  # the server's own
    folder = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in experiment)
    return (path.absolute().parent / "mlartifacts" / folder).as_uri()


def _sqlite_path(tracking_uri: str) -> Path | None:
    return Path(unquote(tracking_uri.removeprefix(SQLITE))) if tracking_uri.startswith(SQLITE) else None
