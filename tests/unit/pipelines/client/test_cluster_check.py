"""`advantageflow cluster check`, and the look before `submit`: a line for each thing, fine or what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_stub.server import KfpStub
from kubernetes_stub.server import Cluster, Right, serving
from kubernetes_stub.state import container_status

Command = Callable[..., tuple[int, str, str]]
Change = Callable[[Cluster], Any]

ON_NODES = (
    "--preset",
    "tiny",
    "--set",
    "model.device=cuda",
    "--set",
    "store.url=s3://b/p",
    "--resources",
    "multi-node",
)
IMAGE = ("--image", "registry.example/stage:1")
SMALL = ("submit", "--preset", "tiny", "--rounds", "1", *IMAGE)
GPU_NODE: dict[str, Any] = {
    "metadata": {"name": "n"},
    "spec": {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
    "status": {"allocatable": {"cpu": "96", "memory": "1000Gi", "nvidia.com/gpu": "8"}},
}
ARGO = "apiVersion: v1\nspec: {templateDefaults: {retryStrategy: {retryPolicy: Always, limit: '0'}}}"
SAID = {"what": "store", "fine": True, "words": "s3://b/p is written and read"}


def kept(name: str, **data: str) -> dict[str, Any]:
    """A secret, config map or account."""
    return {"metadata": {"name": name}, **({"data": data} if data else {})}


def ends(body: dict[str, Any]) -> dict[str, Any]:
    """All containers of the pod that tries things end well, and it says so."""
    ended = [{**container_status({"terminated": {"exitCode": 0}}), "name": one["name"]} for one in containers(body)]
    return {"status": {"phase": "Succeeded", "containerStatuses": ended}, "log": json.dumps(SAID)}


def containers(body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body["spec"]["containers"]
    return found


def pull_fails(body: dict[str, Any]) -> dict[str, Any]:
    waiting = container_status({"waiting": {"reason": "ErrImagePull", "message": "not found"}})
    return {"status": {"phase": "Pending", "containerStatuses": [{**waiting, "name": one["name"]}
                                                                 for one in containers(body)]}}  # fmt: skip


def node(**resources: str) -> dict[str, Any]:
    """The GPU node with other allocatable resources."""
    return {**GPU_NODE, "status": {"allocatable": {**GPU_NODE["status"]["allocatable"], **resources}}}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster with all that a training on two nodes needs."""
    with serving("kubeflow") as stub:
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(stub.kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setattr("advantageflow.kubernetes_api.POLL", 0.02)
        container = {"name": "server", "image": "ghcr.io/kubeflow/kfp-api-server:2.17.0"}
        template = {"metadata": {}, "spec": {"containers": [container]}}
        server = {"metadata": {}, "spec": {"selector": {}, "template": template}}
        stub.objects = {
            ("deployments", "ml-pipeline"): server,
            ("serviceaccounts", "advantageflow-runner"): kept("advantageflow-runner"),
            ("configmaps", "kfp-launcher"): kept("kfp-launcher"),
            ("configmaps", "advantageflow"): kept("advantageflow", MLFLOW_TRACKING_URI="http://mlflow"),
            ("configmaps", "workflow-controller-configmap"): kept("workflow", workflowDefaults=ARGO),
            ("secrets", "mlpipeline-minio-artifact"): kept("mlpipeline-minio-artifact"),
            ("nodes", "a"): GPU_NODE, ("nodes", "b"): GPU_NODE,
        }  # fmt: skip
        stub.pod = ends
        yield stub


def check(advantageflow: Command, *more: str) -> tuple[int, str]:
    status, out, err = advantageflow("cluster", "check", *ON_NODES, *more)
    assert not err
    return status, out


def test_a_cluster_that_has_everything_is_fine_in_every_line(
    advantageflow: Command, cluster: Cluster, server: KfpStub
) -> None:
    status, out = check(advantageflow, *IMAGE, "--host", server.url)
    assert status == 0
    assert {line.split()[0] for line in out.splitlines()} == {"fine"}
    for words in (
        f"Kubeflow's API: {server.url} answers", "Kubernetes: v1.36.3", "Kubeflow Pipelines: 2.17.0",
        "service account advantageflow-runner", "rights of advantageflow-runner: all 16",
        "config map kfp-launcher: there",
        "secret advantageflow-s3: not there; stages do without it", "retries: retryPolicy Always",
        "TrainingRuntime advantageflow-torch", "nodes for training: 2 of 2 can take a task: 2 with 8 nvidia.com/gpu",
        "image registry.example/stage:1: can be pulled", "store, from a pod: s3://b/p is written and read",
    ):  # fmt: skip
        assert words in out
    assert cluster.deleted == ["advantageflow-check-x1"]


def gone(*keys: tuple[str, str]) -> Change:
    return lambda cluster: [cluster.objects.pop(key) for key in keys]


def has(key: tuple[str, str], value: Any) -> Change:
    return lambda cluster: cluster.objects.update({key: value})


QUOTA = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "8"}}}
SMALL_GPU = {**GPU_NODE, "metadata": {"name": "n", "labels": {"nvidia.com/gpu.memory": "40960"}}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (gone(("serviceaccounts", "advantageflow-runner")), "service account advantageflow-runner: not in namespace"),
        (lambda c: c.forbidden.add(Right("trainer.kubeflow.org", "trainjobs", "create")), "may not create trainjobs"),
        (gone(("configmaps", "kfp-launcher")), "config map kfp-launcher: not in namespace kubeflow: apply"),
        (lambda c: c.runtimes.clear(), "TrainingRuntime advantageflow-torch: not in namespace kubeflow: install"),
        (has(("nodes", "b"), SMALL_GPU), "nodes for training: about 90.0 GB are needed on a GPU"),
        (has(("resourcequotas", "gpus"), QUOTA), "quota gpus: training takes 16 of 8 nvidia.com/gpu"),
        (lambda c: setattr(c, "version", "v1.29.0"), "Kubernetes: v1.29.0: install 1.31 or later"),
        (gone(("deployments", "ml-pipeline")), "the kubeconfig's cluster has none in namespace kubeflow"),
        (lambda c: setattr(c, "pod", pull_fails), "image registry.example/stage:1: ErrImagePull: not found: check"),
    ],
)  # fmt: skip
def test_what_is_missing_is_one_line_that_says_what_to_do(
    advantageflow: Command, cluster: Cluster, change: Change, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "advantageflow_pipelines.client.checks.namespace._gpu_memory", lambda _: {"training": 90 * 10**9}
    )
    change(cluster)
    status, out = check(advantageflow, *(IMAGE if "image" in words else ()))
    assert status == 1
    wrong = [line for line in out.splitlines() if line.startswith("to do")]
    assert any(words in line for line in wrong)
    assert {line.split(" for ")[0].split(":")[0] for line in wrong} == {wrong[0].split(" for ")[0].split(":")[0]}


@pytest.mark.parametrize("change", [gone(("nodes", "b")), has(("nodes", "b"), node(memory="64Gi"))])
def test_nodes_that_are_missing_may_come_on_demand(advantageflow: Command, cluster: Cluster, change: Change) -> None:
    change(cluster)
    status, out = check(advantageflow)
    assert status == 0
    [line] = [line for line in out.splitlines() if line.startswith("better")]
    assert "nodes for training: 1 of " in line
    assert "could take a task: 2 with 8 nvidia.com/gpu, 48 cores and 384Gi; unless nodes come on demand" in line


def test_what_the_cluster_does_not_tell_is_not_taken_for_missing(advantageflow: Command, cluster: Cluster) -> None:
    for right in (
        Right("", "secrets", "get"), Right("", "nodes", "list"), Right("", "pods", "create"),
        Right("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    ):  # fmt: skip
        cluster.refused[right] = (403, f"{right.resource} is forbidden")
    cluster.objects["configmaps", "workflow-controller-configmap"] = kept("workflow", workflowDefaults="")
    status, out = check(advantageflow, *IMAGE)
    assert status == 0
    for what in (
        "secrets: you have no right to get secrets",
        "nodes: you have no right to list nodes",
        "a pod: you have",
    ):
        assert f"not checked {what}" in out
    assert "better      retries: retryPolicy OnFailure" in out


def test_submit_looks_first_and_sends_nothing_that_would_fail(
    advantageflow: Command, cluster: Cluster, server: KfpStub
) -> None:
    gone(("serviceaccounts", "advantageflow-runner"))(cluster)
    status, _, err = advantageflow(*SMALL, "--host", server.url)
    assert (status, server.state.runs) == (2, {})
    assert "service account advantageflow-runner: not in namespace kubeflow" in err
    assert "--no-check" in err
    assert advantageflow(*SMALL, "--host", server.url, "--no-check")[0] == 0
    assert advantageflow(*SMALL, "--host", server.url, "--service-account", "mine")[0] == 2


def test_submit_takes_another_cluster_s_kubeconfig_for_no_obstacle(
    advantageflow: Command, cluster: Cluster, server: KfpStub
) -> None:
    cluster.objects.clear()
    status, out, _ = advantageflow(*SMALL, "--host", server.url)
    assert status == 0
    assert "not checked on the cluster: the kubeconfig's cluster has none" in out


def test_without_a_kubeconfig_nothing_is_looked_at_and_that_is_said(advantageflow: Command) -> None:
    status, out = check(advantageflow)
    assert status == 0
    assert "no kubeconfig leads to the cluster" in out
