"""What the namespace of the runs has to hold: service account and rights, secrets, config maps, quotas, the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from advantageflow.errors import ClusterError
from advantageflow.kubernetes_api import explained
from advantageflow.training.trainjob.spec import API_GROUP, API_VERSION, RUNTIME, check_resources
from advantageflow_pipelines.client.checks.findings import TIMEOUT, Finding, fine, there, to_do
from advantageflow_pipelines.placing.resources.stage_resources import Environment, Resources, StageResources

_APPLY = "apply an overlay of infra/ (infra/README.md, step 3)"
_KFP_OWN = {"config map": Environment(name="kfp-launcher", keys={}),
            "secret": Environment(name="mlpipeline-minio-artifact", keys={})}  # fmt: skip


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


def check_account(core: Any, namespace: str, account: str) -> Iterator[Finding]:
    """The service account of the run's pods."""
    what = f"service account {account}"
    if there(core.read_namespaced_service_account, "serviceaccounts", what, account, namespace):
        yield fine(what, f"in namespace {namespace}")
    else:
        yield to_do(what, f"not in namespace {namespace}", f"{_APPLY}, or give another one with --service-account")


def check_rights(
    client: Any, namespace: str, account: str, *, on_nodes: bool, several_users: bool
) -> Iterator[Finding]:
    """What the service account of a run's pods has to be allowed, as infra/base/runs/roles.yaml gives it.

    `on_nodes` says whether training is a TrainJob, `several_users` whether Kubeflow Pipelines has several.

    Raises:
        ClusterError: the cluster does not say, as to users who may not ask about others.
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


def check_environment(core: Any, namespace: str, resources: Resources, kind: str) -> Iterator[Finding]:
    """The secrets, or the config maps, that stages name, with the keys that they want; `kind` is one of both words."""
    stages = resources.stages.values()
    named = [*(one.secrets if kind == "secret" else one.config_maps for one in stages)]
    wanted = dict.fromkeys([_KFP_OWN[kind].name, *(one.name for given in named for one in given)])
    if kind == "secret":
        wanted |= dict.fromkeys(name for one in stages for name in one.image_pull_secrets)
    read = core.read_namespaced_secret if kind == "secret" else core.read_namespaced_config_map
    for name in wanted:
        askers = [one for given in named for one in given if one.name == name]
        optional = bool(askers) and all(one.optional for one in askers)
        what = f"{kind} {name}"
        found = there(read, f"{kind.replace(' ', '')}s", what, name, namespace)
        held = (found.data or {}) if found else {}
        missing = {key for one in askers if not one.optional for key in one.keys} - held.keys()
        if found is None and optional:
            yield fine(what, "not there; stages do without it")
        elif found is None:
            yield to_do(what, f"not in namespace {namespace}", _APPLY)
        elif missing:
            yield to_do(what, f"has no {', '.join(sorted(missing))}", "add it, or mend the resources' keys")
        else:
            yield fine(what, "there")


def check_quota(core: Any, namespace: str, resources: Resources) -> Iterator[Finding]:
    """Whether the namespace may hold the GPUs of each stage at once."""
    from kubernetes.utils.quantity import parse_quantity

    with explained("list", "resourcequotas", f"namespace {namespace}"):
        quotas = core.list_namespaced_resource_quota(namespace, _request_timeout=TIMEOUT).items
    for stage, given in resources.stages.items():
        nodes = resources.nodes if stage == resources.trainer else 1
        count = nodes * given.gpus if isinstance(given.gpus, int) else 0
        field = f"requests.{given.gpu_type}"
        for quota in quotas if count else ():
            hard = (quota.spec.hard or {}).get(field)
            if hard is not None and parse_quantity(hard) < count:
                remedy = "have it raised (gpus.yaml of the overlay), or choose smaller --resources"
                yield to_do(f"quota {quota.metadata.name}", f"{stage} takes {count} of {hard} {given.gpu_type}", remedy)
                return
    yield fine("quotas", "no stage takes more GPUs than the namespace may hold")


def check_runtime(client: Any, namespace: str, training: StageResources) -> Iterator[Finding]:
    """The TrainingRuntime of a training over several nodes, and Kubeflow Trainer, whose kind of object it is."""
    from kubernetes.client import CustomObjectsApi

    what = f"TrainingRuntime {RUNTIME}"
    read = CustomObjectsApi(client).get_namespaced_custom_object
    found = there(read, "trainingruntimes", what, API_GROUP, API_VERSION, namespace, "trainingruntimes", RUNTIME)
    if found is None:
        remedy = "install Kubeflow Trainer 2.3 and apply infra/overlays/multi-node, or train on one node"
        yield to_do(what, f"not in namespace {namespace}", remedy)
        return
    limits = {"memory": training.memory_limit or training.memory}
    limits |= {"cpu": training.cpu_limit} if training.cpu_limit else {}
    limits |= {training.gpu_type: str(training.gpus)} if training.gpus else {}
    asked = {"requests": {"cpu": training.cpu, "memory": training.memory}, "limits": limits}
    try:
        check_resources(what, found, {"resources": asked})
    except ClusterError as error:
        yield to_do(what, error.message, error.remedy)
        return
    yield fine(what, f"in namespace {namespace}")
