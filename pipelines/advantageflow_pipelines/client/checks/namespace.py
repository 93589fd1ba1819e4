"""What the namespace of the runs has to hold: account, rights, secrets, config maps, quotas, runtime, nodes."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from advantageflow.errors import ClusterError, UserError
from advantageflow.kubernetes_api import explained
from advantageflow.settings import RunSettings
from advantageflow.training.trainjob.spec import API_GROUP, API_VERSION, RUNTIME, check_resources
from advantageflow_pipelines.client.checks.findings import TIMEOUT, Finding, State, fine, there, to_do
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
    Raises ClusterError: the cluster does not say, as to users who may not ask about others.

    `on_nodes` says whether training is a TrainJob, `several_users` whether Kubeflow Pipelines has several.
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


_MEMORY_LABEL = "nvidia.com/gpu.memory"  # MiB of one GPU, as NVIDIA's feature discovery writes it
_REPELS = ("NoSchedule", "NoExecute")


def check_nodes(core: Any, resources: Resources, settings: RunSettings) -> Iterator[Finding]:
    """A line for each stage that wants GPUs or finds no node."""
    with explained("list", "nodes", "the cluster"):
        nodes = core.list_node(_request_timeout=TIMEOUT).items
    labelled = any(_MEMORY_LABEL in (node.metadata.labels or {}) for node in nodes)
    needed = _gpu_memory(settings) if labelled and any(one.gpus for one in resources.stages.values()) else {}
    for stage, given in resources.stages.items():
        what = f"nodes for {stage}"
        wanted = resources.nodes if stage == resources.trainer else 1
        fitting = [node for node in nodes if _takes(node, given)]
        need = f"{wanted} with {given.gpus} {given.gpu_type}, " if given.gpus else ""
        need += f"{given.cpu} cores and {given.memory}"
        if len(fitting) < wanted:
            words = (
                f"{len(fitting)} of {len(nodes)} could take a task: {need}; unless nodes come on demand, add some, or "
                "choose smaller --resources (node_selector and tolerations count too)"
            )
            yield Finding(what, State.ADVICE, words)
        elif too_small := _too_small(fitting, wanted, needed.get(stage, 0)):
            remedy = (
                "choose nodes by node_selector, or lower what `advantageflow plan` shows (microbatches, image size)"
            )
            yield to_do(what, too_small, remedy)
        elif given.gpus:
            yield fine(what, f"{len(fitting)} of {len(nodes)} can take a task: {need}")


def _gpu_memory(settings: RunSettings) -> Mapping[str, int]:
    """Bytes that each stage needs on a GPU; none where it cannot be worked out here, as `plan` says. Takes seconds."""
    from advantageflow_pipelines.plan.estimate import gpu_memory

    try:
        return gpu_memory(settings)
    except UserError:
        return {}


def _takes(node: Any, given: StageResources) -> bool:
    """Whether the node, with nothing else on it, could take a task."""
    from kubernetes.utils.quantity import parse_quantity

    has = node.status.allocatable or {}
    asked = {"cpu": given.cpu, "memory": given.memory} | ({given.gpu_type: str(given.gpus)} if given.gpus else {})
    labels = node.metadata.labels or {}
    taints = [taint for taint in node.spec.taints or [] if taint.effect in _REPELS]
    return (
        not node.spec.unschedulable
        and given.node_selector.items() <= labels.items()
        and all(_tolerated(taint, given) for taint in taints)
        and all(parse_quantity(has.get(name, "0")) >= parse_quantity(size) for name, size in asked.items())
    )


def _tolerated(taint: Any, given: StageResources) -> bool:
    return any(
        (one.key in (None, taint.key)) and (one.effect in (None, taint.effect))
        and (one.operator == "Exists" or one.value == taint.value)
        for one in given.tolerations
    )  # fmt: skip


def _too_small(nodes: list[Any], wanted: int, need: int) -> str:
    """What their GPUs lack in memory; "" where enough have it, or do not say."""
    sizes = [int((node.metadata.labels or {}).get(_MEMORY_LABEL, 0)) * 2**20 for node in nodes]
    large = [size for size in sizes if size == 0 or size >= need]
    if len(large) >= wanted:
        return ""
    return f"about {need / 1e9:.1f} GB are needed on a GPU, and those there have {max(sizes) / 1e9:.0f}"
