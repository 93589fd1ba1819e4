"""Logs of a run's pods, by the Kubernetes API that this person's kubeconfig, or this pod, leads to."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.kubernetes_api import api_client, is_reachable

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
