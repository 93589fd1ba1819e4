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


def core_api() -> Any | None:
    """Kubernetes' core API; None where neither a service account nor a kubeconfig leads to one."""
    from kubernetes import client

    try:
        return client.CoreV1Api(api_client(retries=False)) if is_reachable() else None
    except SettingsError:
        return None


def pod_logs(namespace: str | None, run_id: str, stage: str | None = None, *, lines: int) -> dict[str, str]:
    """The last lines of the run's pods by name, in the order that they began; none where they cannot be had.

    Args:
        namespace: of the run; that of a server with a single user if None.
        run_id: of the run.
        stage: only its pods.
        lines: of each pod.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    core, where = core_api(), namespace or DEFAULT_NAMESPACE
    if core is None:
        return {}
    selector = f"{RUN_LABEL}={run_id}" + (f",{STAGE_LABEL}={stage}" if stage else "")
    found: dict[str, str] = {}
    with suppress(ApiException, HTTPError):
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
    selector = f"{RUN_LABEL}={run_id}" + (f",{STAGE_LABEL}={stage}" if stage else "")
    where = namespace or DEFAULT_NAMESPACE
    return f"kubectl logs --namespace {where} --selector {selector} --container {_CONTAINER} --tail {lines} --prefix"
