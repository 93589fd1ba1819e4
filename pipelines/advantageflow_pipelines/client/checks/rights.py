"""What the service account of a run's pods has to be allowed, as infra/base/runs/roles.yaml gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from advantageflow.kubernetes_api import explained
from advantageflow_pipelines.client.checks.findings import TIMEOUT, Finding, fine, to_do

_ARGO, _TRAINER, _KUBEFLOW = "argoproj.io", "trainer.kubeflow.org", "pipelines.kubeflow.org"


class Right(NamedTuple):
    """A right in the namespace of the runs; `name` is of the one object that it is about, if it is about one."""

    verb: str
    resource: str
    group: str = ""
    name: str | None = None


ALWAYS = (
    Right("create", "workflowtaskresults", _ARGO),
    Right("patch", "workflowtaskresults", _ARGO),
    Right("list", "workflowtasksets", _ARGO),
    Right("watch", "workflowtasksets", _ARGO),
    Right("patch", "workflowtasksets/status", _ARGO),
    Right("get", "configmaps", name="kfp-launcher"),
    Right("get", "secrets", name="mlpipeline-minio-artifact"),
    Right("get", "pods"),
)
ON_NODES = (
    Right("get", "trainingruntimes", _TRAINER),
    *(Right(verb, "trainjobs", _TRAINER) for verb in ("create", "get", "list", "delete")),
    Right("list", "pods"),
    Right("list", "events"),
    Right("get", "pods/log"),
)
SEVERAL_USERS = (  # of which Kubeflow's API asks, where it has several users
    *(Right(verb, "runs", _KUBEFLOW) for verb in ("get", "list", "create")),
    Right("get", "pipelines", _KUBEFLOW),
)


def check_rights(
    client: Any, namespace: str, account: str, *, on_nodes: bool, several_users: bool
) -> Iterator[Finding]:
    """Ask the cluster, right by right.

    Args:
        client: of Kubernetes.
        namespace: of the runs.
        account: the service account.
        on_nodes: whether training is a TrainJob.
        several_users: whether Kubeflow Pipelines has several.

    Raises:
        ClusterError: it does not say, as to users who may not ask about others.
    """
    from kubernetes.client import AuthorizationV1Api

    api = AuthorizationV1Api(client)
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    wanted = [*ALWAYS, *(ON_NODES if on_nodes else ()), *(SEVERAL_USERS if several_users else ())]
    missing = []
    for right in wanted:
        resource, _, part = right.resource.partition("/")
        attributes = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": resource}
        attributes |= ({"subresource": part} if part else {}) | ({"name": right.name} if right.name else {})
        spec = {"user": f"system:serviceaccount:{namespace}:{account}", "groups": groups,
                "resourceAttributes": attributes}  # fmt: skip
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview",
                "metadata": {"namespace": namespace}, "spec": spec}  # fmt: skip
        with explained("create", "localsubjectaccessreviews", f"namespace {namespace}"):
            asked = api.create_namespaced_local_subject_access_review(namespace, body, _request_timeout=TIMEOUT)
        if not asked.status.allowed:
            missing.append(f"{right.verb} {right.resource}")
    what = f"rights of {account}"
    if missing:
        yield to_do(what, f"may not {', '.join(missing)}", "apply infra/overlays (base/runs/roles.yaml has all)")
    else:
        yield fine(what, f"all {len(wanted)}, in namespace {namespace}")
