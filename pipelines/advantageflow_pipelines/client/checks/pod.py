"""A short pod that is placed as a run's tasks are: it pulls every image, and tries store, MLflow and Kubeflow."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from advantageflow import kubernetes_api
from advantageflow.errors import ClusterError
from advantageflow.kubernetes_api import explained
from advantageflow_pipelines.client.checks.findings import TIMEOUT, Finding, State, fine, to_do
from advantageflow_pipelines.placing.resources.stage_resources import Environment, Resources

SECONDS = 120.0  # that are waited: images of some gigabytes may take longer, and are then known to exist
_PROBE = "probe"
_BROKEN = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
_RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_LABELS = {"app.kubernetes.io/component": "check", "app.kubernetes.io/part-of": "advantageflow"}


def check_from_pod(
    core: Any, namespace: str, account: str, resources: Resources, images: Mapping[str, str], store: str | None
) -> Iterator[Finding]:
    """Create the pod, wait for what it finds, and delete it.
    Raises ClusterError: the pod cannot be created, or its log not be read.

    It has the secrets and config maps of the first stage, whose image has what tries the connections, and the address
    of the store that a run would use.
    """
    names = {_PROBE if number == 0 else f"image-{number}": image
             for number, image in enumerate(dict.fromkeys(images.values()))}  # fmt: skip
    body = _pod(account, resources, names, store)
    with explained("create", "pods", f"namespace {namespace}"):
        pod = core.create_namespaced_pod(namespace, body, _request_timeout=TIMEOUT).metadata.name
    try:
        states, waits = _wait(core, namespace, pod, names)
        for name, image in names.items():
            yield _image(image, states.get(name), waits)
        ended = states.get(_PROBE)
        if ended is None or ended.terminated is None:
            why = "the pod did not run" if waits else f"the pod did not end within {SECONDS:g} s"
            yield Finding("store, MLflow", State.UNKNOWN, why)
            return
        with explained("get", "pods/log", f"pod {namespace}/{pod}"):
            log = core.read_namespaced_pod_log(pod, namespace, container=_PROBE, _request_timeout=TIMEOUT)
        yield from _said(log)
    finally:
        with contextlib.suppress(ClusterError), explained("delete", "pods", pod):
            core.delete_namespaced_pod(pod, namespace, grace_period_seconds=0, _request_timeout=TIMEOUT)


def _pod(account: str, resources: Resources, images: Mapping[str, str], store: str | None) -> dict[str, Any]:
    first = next(iter(resources.stages.values()))
    given = [("secretKeyRef", first.secrets), ("configMapKeyRef", first.config_maps)]
    environment = [entry for kind, several in given for one in several for entry in _variables(kind, one)]
    tried = ["python3", "-m", "advantageflow.probe", *([store] if store else [])]
    containers = [
        {
            "name": name, "image": image, "securityContext": _RESTRICTED,
            "command": tried if name == _PROBE else ["true"], "env": environment if name == _PROBE else [],
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        }
        for name, image in images.items()
    ]  # fmt: skip
    secrets = dict.fromkeys(name for one in resources.stages.values() for name in one.image_pull_secrets)
    spec = {
        "serviceAccountName": account, "restartPolicy": "Never", "activeDeadlineSeconds": int(2 * SECONDS),
        "enableServiceLinks": False, "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "imagePullSecrets": [{"name": name} for name in secrets], "containers": containers,
    }  # fmt: skip
    metadata = {"generateName": "advantageflow-check-", "labels": _LABELS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _variables(kind: str, one: Environment) -> list[dict[str, Any]]:
    return [{"name": variable, "valueFrom": {kind: {"name": one.name, "key": key, "optional": one.optional}}}
            for key, variable in one.keys.items()]  # fmt: skip


def _wait(core: Any, namespace: str, pod: str, names: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The states of the containers once each has ended or cannot start, or time is up; and why the pod has no node."""
    deadline = time.monotonic() + SECONDS
    while True:
        with explained("get", "pods", f"pod {namespace}/{pod}"):
            status = core.read_namespaced_pod(pod, namespace, _request_timeout=TIMEOUT).status
        states = {one.name: one.state for one in status.container_statuses or []}
        decided = [one for one in states.values() if one.terminated or _broken(one)]
        unplaced = [one for one in status.conditions or [] if one.type == "PodScheduled" and one.status == "False"]
        if len(decided) == len(names) or time.monotonic() > deadline:
            return states, unplaced[0].message if unplaced else ""
        time.sleep(kubernetes_api.POLL)


def _broken(state: Any) -> bool:
    return state.waiting is not None and state.waiting.reason in _BROKEN


def _image(image: str, state: Any, waits: str) -> Finding:
    what = f"image {image}"
    if state is not None and _broken(state):
        remedy = "check its name, the registry, and image_pull_secrets of the resources"
        return to_do(what, f"{state.waiting.reason}: {state.waiting.message or ''}".rstrip(": "), remedy)
    if state is not None and (state.terminated or state.running):
        return fine(what, "can be pulled")
    return Finding(what, State.UNKNOWN, waits or f"not there after {SECONDS:g} s, and still being pulled")


def _said(log: str) -> Iterator[Finding]:
    """What the pod found; a log of anything else is that of an image without `advantageflow.probe`."""
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    if not told:
        last = (log.strip().splitlines() or ["nothing"])[-1]
        yield to_do("store, MLflow", f"the pod could not try them ({last})", "give images of this version (--images)")
    for one in told:
        first, _, remedy = one["words"].partition("\n")
        what = f"{one['what']}, from a pod"
        yield fine(what, first) if one["fine"] else to_do(what, first, remedy.strip().removeprefix("what to do: ")
                                                          or "see that its address is right and reachable")  # fmt: skip
