"""What is known of a run on a cluster beside Kubeflow's list: MLflow's records of its tasks, and its pods' logs."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from advantageflow.annotations import MlflowClient, Run
from advantageflow.errors import SettingsError, TrackingError
from advantageflow.evaluation.labels import headline
from advantageflow.kubernetes_api import api_client, is_reachable
from advantageflow.records import METRICS_FILE
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.mlflow_store import open_client, tracking_errors
from advantageflow.tracking.pipeline_run import find_pipeline_run, task_runs
from advantageflow.tracking.recorder import ERROR_FILE, PROGRESS_TAG
from advantageflow_pipelines.client.runs import RunStatus
from advantageflow_pipelines.local.tasks import Task

T = TypeVar("T")

_AGAIN_SECONDS = 30.0  # until a store that is away is asked again
_SOONER = 5.0  # seconds that a task may have begun before its run, by another clock
# Somebody waits for the answer.
_ONCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class Records:
    """MLflow's side of runs; it tells nothing where no store is named, and while the store is away.

    Args:
        warn: shows a message, once when the store is away.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._uri = os.environ.get(TRACKING_ENV)
        self._warn = warn
        self._client: MlflowClient | None = None
        self._away_at: float | None = None
        self._runs: dict[str, Run] = {}  # of tasks, the last attempts
        for name, value in _ONCE.items():
            os.environ.setdefault(name, value)

    def tasks(self, run: RunStatus) -> dict[str, Task]:
        """The tasks of a pipeline run by their ids, of each the last attempt."""
        since = run.created.timestamp() - _SOONER if run.created else 0.0

        def ask(client: MlflowClient) -> list[Run]:
            whole = find_pipeline_run(client, run.run_id)
            return [] if whole is None else task_runs(client, whole)

        found: dict[str, Task] = {}
        nothing: list[Run] = []
        for one in self._ask(ask, nothing):
            task = _task(one)
            if task.started >= since:
                task.attempt += found[task.task_id].attempt if task.task_id in found else 0
                found[task.task_id], self._runs[task.task_id] = task, one
        return found

    def result(self, task: Task) -> str | None:
        """What came of an evaluation; None of other tasks."""
        run = self._runs.get(task.task_id)
        if run is None or not any(name.startswith("evaluation/") for name in run.data.metrics):
            return None
        text = self._file(run, f"report/{METRICS_FILE}")
        with suppress(ValueError, LookupError, TypeError):
            return headline(json.loads(text)) if text else None
        return None

    def own_words(self, task: Task) -> str | None:
        """What a stage said of its failure; None where it could not."""
        run = self._runs.get(task.task_id)
        if run is None or run.info.status != "FAILED":
            return None
        return self._file(run, ERROR_FILE) or run.data.tags.get("error")

    def reason(self, run: RunStatus) -> str | None:
        """What a pipeline run is known to have failed at."""
        whole = self._ask(lambda client: find_pipeline_run(client, run.run_id), None)
        return None if whole is None else whole.data.tags.get("error")

    def _file(self, run: Run, name: str) -> str | None:
        def fetch(client: MlflowClient) -> str:
            with tempfile.TemporaryDirectory() as folder:
                return Path(client.download_artifacts(run.info.run_id, name, folder)).read_text(encoding="utf-8")

        return self._ask(fetch, None, quietly=True)

    def _ask(self, question: Callable[[MlflowClient], T], otherwise: T, *, quietly: bool = False) -> T:
        now = time.monotonic()
        if self._uri is None or (self._away_at is not None and now - self._away_at < _AGAIN_SECONDS):
            return otherwise
        try:
            self._client = self._client or open_client(self._uri)
            with tracking_errors(self._uri):
                answer = question(self._client)
        except TrackingError as error:
            if quietly:
                return otherwise
            if self._away_at is None:
                self._warn(f"MLflow tells nothing of this run for now. {error}")
            self._away_at = time.monotonic()
            return otherwise
        self._away_at = None
        return answer


def _task(run: Run) -> Task:
    """A task by its run in MLflow."""
    tags, status = run.data.tags, run.info.status
    number, shard = (int(tags[name]) if name in tags else None for name in ("round", "shard"))
    stage = tags.get("stage") or str(run.info.run_name)
    task = Task(f"{stage} {number} {shard}", stage, number, shard, run.info.start_time / 1000)
    how_far, _, task.unit = tags.get(PROGRESS_TAG, "").partition(" ")
    if how_far:
        task.done, task.total = map(int, how_far.split("/"))
    if status != "RUNNING":
        task.ended = (run.info.end_time or run.info.start_time) / 1000
        if status != "FINISHED":
            task.error = {"event": "error", "message": tags.get("error", "")}
    return task


RUN_LABEL, STAGE_LABEL = "pipeline/runid", "app.kubernetes.io/component"
DEFAULT_NAMESPACE = "kubeflow"  # of Kubeflow Pipelines itself, and of the runs where it has a single user
_CONTAINER = "main"  # of a task's pod; the others are Argo's
_TIMEOUT = (3, 20)  # seconds to connect, and without a byte


def pod_logs(namespace: str | None, run_id: str, stage: str | None = None, *, lines: int) -> dict[str, str]:
    """The last lines of the run's pods by name, in the order that they began; none where they cannot be had.

    Without a namespace they are those of a server with a single user; with a stage, its pods alone.
    """
    from kubernetes.client import ApiException, CoreV1Api
    from urllib3.exceptions import HTTPError

    client, where = kubernetes_client(), namespace or DEFAULT_NAMESPACE
    if client is None:
        return {}
    core = CoreV1Api(client)
    found: dict[str, str] = {}
    with suppress(ApiException, HTTPError):
        selector = _selector(run_id, stage)
        pods = core.list_namespaced_pod(where, label_selector=selector, _request_timeout=_TIMEOUT).items
        for pod in sorted(pods, key=lambda pod: str(pod.metadata.creation_timestamp)):
            if not any(container.name == _CONTAINER for container in pod.spec.containers):
                continue
            with suppress(ApiException):
                found[pod.metadata.name] = core.read_namespaced_pod_log(
                    pod.metadata.name, where, container=_CONTAINER, tail_lines=lines, _request_timeout=_TIMEOUT
                ).rstrip()
    return found


def log_command(namespace: str | None, run_id: str, stage: str | None, lines: int) -> str:
    """The command that shows the same."""
    where, selector = namespace or DEFAULT_NAMESPACE, _selector(run_id, stage)
    return f"kubectl logs --namespace {where} --selector {selector} --container {_CONTAINER} --tail {lines} --prefix"


def _selector(run_id: str, stage: str | None) -> str:
    return f"{RUN_LABEL}={run_id}" + (f",{STAGE_LABEL}={stage}" if stage else "")


def kubernetes_client() -> Any | None:
    """Kubernetes' client; None where neither a service account nor a kubeconfig leads to a cluster."""
    try:
        return api_client(retries=False) if is_reachable() else None
    except SettingsError:
        return None
