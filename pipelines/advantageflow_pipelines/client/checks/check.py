"""All that is looked at, in order."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from advantageflow.kubernetes_api import explained
from advantageflow_pipelines.client.checks.findings import TIMEOUT, Finding, State, fine, looked, there, to_do
from advantageflow_pipelines.client.checks.namespace import (
    check_account,
    check_environment,
    check_nodes,
    check_quota,
    check_rights,
    check_runtime,
)
from advantageflow_pipelines.client.checks.pod import check_from_pod
from advantageflow_pipelines.client.records import DEFAULT_NAMESPACE, kubernetes_client
from advantageflow_pipelines.placing.cluster import ClusterRun

PATCH = (
    "kubectl --namespace kubeflow patch configmap workflow-controller-configmap --patch-file infra/argo/retries.yaml"
)
_CONTROLLER = "workflow-controller-configmap"  # Argo's, in the namespace of Kubeflow Pipelines itself
_EXITS, _LOST = "containers that end by themselves", "pods that are lost with their node"
_NOT_TRIED_AGAIN = {"Always": (), "OnFailure": (_LOST,), "OnError": (_EXITS,)}
ANOTHER_CLUSTER = to_do(  # of which nothing else that is found would be true
    "Kubeflow Pipelines",
    f"the kubeconfig's cluster has none in namespace {DEFAULT_NAMESPACE}",
    "set KUBECONFIG to the cluster of --host, or install Kubeflow Pipelines 2.17",
)
_OLDEST = {"Kubernetes": (1, 31), "Kubeflow Pipelines": (2, 17)}


def check_cluster(run: ClusterRun, namespace: str | None, account: str, *, pod: bool = False) -> Iterator[Finding]:
    """Look at the cluster of this user's kubeconfig, or of this pod, one thing after the other.

    Args:
        namespace: of the runs; that of a server with a single user if None.
        account: service account of their pods.
        pod: whether to try images, store and MLflow from a pod too.
    """
    from kubernetes.client import CoreV1Api

    client = kubernetes_client()
    if client is None:
        words = "no kubeconfig leads to the cluster; set KUBECONFIG to have it looked at"
        yield Finding("Kubernetes", State.UNKNOWN, words)
        return

    core, where, resources = CoreV1Api(client), namespace or DEFAULT_NAMESPACE, run.resources
    versions = looked("Kubernetes", lambda: _kubernetes(client))
    yield from versions
    if versions[0].state is State.UNKNOWN:
        return  # it does not answer
    kubeflow = looked("Kubeflow Pipelines", lambda: _kubeflow(client))
    yield from kubeflow
    if ANOTHER_CLUSTER in kubeflow:
        return
    yield from looked("service account", lambda: check_account(core, where, account))
    on_nodes, several = resources.nodes > 1, namespace is not None
    yield from looked(
        f"rights of {account}", lambda: check_rights(client, where, account, on_nodes=on_nodes, several_users=several)
    )
    yield from looked("config maps", lambda: check_environment(core, where, resources, "config map"))
    yield from looked("secrets", lambda: check_environment(core, where, resources, "secret"))
    if any(one.retries.count for one in resources.stages.values()):
        yield from looked("retries", lambda: _retries(core))
    training = resources.training
    if on_nodes and training is not None:
        yield from looked("TrainingRuntime", lambda: check_runtime(client, where, training))
    yield from looked("quotas", lambda: check_quota(core, where, resources))
    yield from looked("nodes", lambda: check_nodes(core, resources, run.settings))
    if pod:
        store = run.settings.store.url
        yield from looked("a pod", lambda: check_from_pod(core, where, account, resources, run.images, store))


def _kubernetes(client: Any) -> Iterator[Finding]:
    from kubernetes.client import VersionApi

    with explained("get", "version", "the Kubernetes API"):
        yield _version("Kubernetes", VersionApi(client).get_code(_request_timeout=TIMEOUT).git_version)


def _kubeflow(client: Any) -> Iterator[Finding]:
    """By the image of its API server."""
    from kubernetes.client import AppsV1Api

    read = AppsV1Api(client).read_namespaced_deployment
    server = there(read, "deployments", "deployment ml-pipeline", "ml-pipeline", DEFAULT_NAMESPACE)
    if server is None:
        yield ANOTHER_CLUSTER
    else:
        yield _version("Kubeflow Pipelines", server.spec.template.spec.containers[0].image.rpartition(":")[2])


def _version(what: str, text: str) -> Finding:
    number = re.search(r"(\d+)\.(\d+)", text)
    if number is None:
        return Finding(what, State.UNKNOWN, f"'{text}' does not say its version")
    if (int(number[1]), int(number[2])) < _OLDEST[what]:
        return to_do(what, text, f"install {'.'.join(map(str, _OLDEST[what]))} or later")
    return fine(what, text)


def _retries(core: Any) -> Iterator[Finding]:
    found = there(core.read_namespaced_config_map, "configmaps", _CONTROLLER, _CONTROLLER, DEFAULT_NAMESPACE)
    policy, missing = retries_of((found and found.data) or {})
    if missing:
        words = f"retryPolicy {policy}: {', '.join(missing)} are not tried again; an administrator mends it: {PATCH}"
        yield Finding("retries", State.ADVICE, words)
    else:
        yield fine("retries", f"retryPolicy {policy}")


def retries_of(data: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """What Argo's workflow controller with this config map does where a run's resources ask for retries.

    Argo takes all of the config map under one key `config` too.

    Returns:
        Its retryPolicy, which Kubeflow leaves to the controller, and what is not tried again.
    """
    whole = yaml.safe_load(data.get("config", "")) or {}
    defaults = yaml.safe_load(data.get("workflowDefaults", "")) or whole.get("workflowDefaults") or {}
    strategy = defaults.get("spec", {}).get("templateDefaults", {}).get("retryStrategy") or {}
    policy = str(strategy.get("retryPolicy") or "OnFailure")  # Argo's, where nobody says otherwise
    return policy, _NOT_TRIED_AGAIN.get(policy, (_EXITS, _LOST))
