"""What the namespace of the runs has to hold: service account, secrets, config maps, room in quotas, the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from advantageflow.errors import ClusterError
from advantageflow.kubernetes_api import NotThere, explained
from advantageflow.training.trainjob.spec import API_GROUP, API_VERSION, RUNTIME, check_resources
from advantageflow_pipelines.client.checks.findings import TIMEOUT, Finding, State, fine, to_do
from advantageflow_pipelines.placing.resources.stage_resources import Environment, Resources, StageResources

_APPLY = "apply an overlay of infra/ (infra/README.md, step 3)"
_KFP_OWN = {"config map": Environment(name="kfp-launcher", keys={}),
            "secret": Environment(name="mlpipeline-minio-artifact", keys={})}  # fmt: skip


def check_account(core: Any, namespace: str, account: str) -> Iterator[Finding]:
    """The service account of the run's pods."""
    what = f"service account {account}"
    try:
        with explained("get", "serviceaccounts", what):
            core.read_namespaced_service_account(account, namespace, _request_timeout=TIMEOUT)
    except NotThere:
        yield to_do(what, f"not in namespace {namespace}", f"{_APPLY}, or give another one with --service-account")
        return
    yield fine(what, f"in namespace {namespace}")


def check_environment(core: Any, namespace: str, resources: Resources, kind: str) -> Iterator[Finding]:
    """The secrets, or the config maps, that stages name, with the keys that they want.

    Args:
        core: Kubernetes' core API.
        namespace: of the runs.
        resources: of the stages.
        kind: 'secret' or 'config map'.
    """
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
        try:
            with explained("get", f"{kind.replace(' ', '')}s", what):
                held = (read(name, namespace, _request_timeout=TIMEOUT)).data or {}
        except NotThere:
            if optional:
                yield Finding(what, State.FINE, "not there; stages do without it")
            else:
                yield to_do(what, f"not in namespace {namespace}", _APPLY)
            continue
        missing = {key for one in askers if not one.optional for key in one.keys} - held.keys()
        if missing:
            yield to_do(what, f"has no {', '.join(sorted(missing))}", "add it, or mend the resources' keys")
        else:
            yield fine(what, "there")


def check_quota(core: Any, namespace: str, resources: Resources) -> Iterator[Finding]:
    """Whether the namespace may hold the GPUs of each stage at once."""
    from kubernetes.utils.quantity import parse_quantity

    with explained("list", "resourcequotas", f"namespace {namespace}"):
        quotas = core.list_namespaced_resource_quota(namespace, _request_timeout=TIMEOUT).items
    for stage, given in resources.stages.items():
        count = gpus_of(resources, stage)
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
    try:
        with explained("get", "trainingruntimes", what):
            found = read(API_GROUP, API_VERSION, namespace, "trainingruntimes", RUNTIME, _request_timeout=TIMEOUT)
    except NotThere:
        remedy = "install Kubeflow Trainer 2.3 and apply infra/overlays/multi-node, or train on one node"
        yield to_do(what, f"not in namespace {namespace}", remedy)
        return
    try:
        check_resources(what, found, {"resources": _asked(training)})
    except ClusterError as error:
        yield to_do(what, error.message, error.remedy)
        return
    yield fine(what, f"in namespace {namespace}")


def gpus_of(resources: Resources, stage: str) -> int:
    """GPUs that one task of a stage holds, on all its nodes."""
    given = resources.of(stage)
    nodes = resources.nodes if stage == resources.trainer else 1
    return nodes * given.gpus if isinstance(given.gpus, int) else 0


def _asked(given: StageResources) -> dict[str, dict[str, str]]:
    """As a task asks for it."""
    limits = {"memory": given.memory_limit or given.memory}
    limits |= {"cpu": given.cpu_limit} if given.cpu_limit else {}
    limits |= {given.gpu_type: str(given.gpus)} if given.gpus else {}
    return {"requests": {"cpu": given.cpu, "memory": given.memory}, "limits": limits}
