"""The runner's rights: all that training on nodes and KFP's own parts ask of Kubernetes, and nothing else.

The launcher, and what the run's last task does, run for real, against a server that answers as Kubernetes would and
records what it was asked.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes_stub.server import Cluster, Right, serving
from kubernetes_stub.state import Job
from kubernetes_stub.task import complete, live_in, make_arguments

from advantageflow.errors import TrainingError
from advantageflow.settings import TrainingSettings
from advantageflow.training.trainjob.launch import remove_leftovers, train_on_nodes
from advantageflow_pipelines.client.checks.namespace import ALWAYS, ON_NODES, SEVERAL_USERS

if TYPE_CHECKING:
    from conftest import Overlay

# What runs as the runner beside this project's code asks for this, by KFP's sources and Argo's documentation.
KFP = {
    Right("argoproj.io", "workflowtaskresults", "create"),  # Argo's executor: what a step did
    Right("argoproj.io", "workflowtaskresults", "patch"),
    Right("argoproj.io", "workflowtasksets", "list"),  # Argo's agent, beside which KFP's driver may run
    Right("argoproj.io", "workflowtasksets", "watch"),
    Right("argoproj.io", "workflowtasksets/status", "patch"),
    Right("", "pods", "get"),  # KFP's launcher: how its own pod failed
}
CONTINUING = {  # of a KFP with several users: `advantageflow.tracking.kubeflow` and `continuing` ask and start runs
    Right("pipelines.kubeflow.org", "runs", "get"),
    Right("pipelines.kubeflow.org", "runs", "list"),
    Right("pipelines.kubeflow.org", "runs", "create"),
    Right("pipelines.kubeflow.org", "pipelines", "get"),
}
KFP_BY_NAME = {  # KFP's driver and launcher: where artifacts are, and with which key
    (Right("", "configmaps", "get"), "kfp-launcher"),
    (Right("", "secrets", "get"), "mlpipeline-minio-artifact"),
}


def rights(overlay: Overlay) -> set[tuple[Right, str | None]]:
    """What the runner may do, each with the name of the one object that it may do it to; None for any object."""
    runner = {"kind": "ServiceAccount", "name": "advantageflow-runner", "namespace": "kubeflow"}
    roles = [
        overlay.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for binding in overlay.all("RoleBinding") + overlay.all("ClusterRoleBinding")
        if runner in binding["subjects"]
    ]
    return {
        (Right(group, resource, verb), name)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [None])
    }


def succeeds(job: Job) -> None:
    """Its pods come late, say something, and end well."""
    job.pods[0].waits("ContainerCreating", "")
    job.pods[0].says("step 1")
    complete(job)


def fails(job: Job) -> None:
    """One of its pods does."""
    job.pods[1].says("this went wrong")
    job.pods[1].ends(1)
    job.becomes("Failed", "BackoffLimitExceeded", "")


def fails_without_pods(job: Job) -> None:
    """A quota allows none."""
    job.pods.clear()
    job.becomes("Failed", "DeadlineExceeded", "")


@pytest.fixture(scope="module")
def asked(overlays: dict[str, Overlay], tmp_path_factory: pytest.TempPathFactory) -> set[Right]:
    """What is asked for when a training succeeds, when it fails, and to end what an earlier attempt or a run left."""
    folder = tmp_path_factory.mktemp("task")
    arguments = make_arguments(folder)
    [role] = overlays["multi-node"].all("Role")
    with pytest.MonkeyPatch.context() as monkeypatch, serving(role["metadata"]["namespace"]) as cluster:
        live_in(cluster, folder / "kubeconfig", monkeypatch)
        monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", "run-1")
        cluster.runtimes = {one["metadata"]["name"]: one for one in overlays["multi-node"].all("TrainingRuntime")}
        left = attempt(cluster, fails_without_pods, arguments)
        attempt(cluster, fails, arguments)
        cluster.add(left)
        attempt(cluster, succeeds, arguments)
        assert json.loads((arguments["policy_out"] / "state.json").read_text()) == {"round": 2}
        cluster.add(left)
        remove_leftovers(str(folder / "store"))
        assert len(cluster.deleted) == 5
        assert cluster.strays == []
        return set(cluster.asked)


def attempt(cluster: Cluster, controller: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Train, and give back the TrainJob that was created for it."""
    bodies = []

    def control(job: Job) -> None:
        bodies.append(json.loads(json.dumps(job.body)))
        controller(job)

    cluster.controller = control
    expected = contextlib.nullcontext() if controller is succeeds else pytest.raises(TrainingError)
    with expected:
        train_on_nodes(TrainingSettings(nodes=2), str(arguments["policy_out"].parent / "store"), arguments, None)
    [body] = bodies
    return body


def test_the_runner_may_do_all_that_training_on_nodes_asks_for(overlay: Overlay, asked: set[Right]) -> None:
    assert {(right, None) for right in asked} - rights(overlay) == set()


def test_the_runner_may_do_what_kfp_s_own_parts_ask_for(overlay: Overlay) -> None:
    assert ({(right, None) for right in KFP | CONTINUING} | KFP_BY_NAME) - rights(overlay) == set()


def test_the_check_of_a_cluster_asks_for_these_rights_and_no_others(overlay: Overlay) -> None:
    checked = {(Right(one.group, one.resource, one.verb), one.name) for one in (*ALWAYS, *ON_NODES, *SEVERAL_USERS)}
    assert checked == rights(overlay)


def test_the_runner_may_do_nothing_else(overlay: Overlay, asked: set[Right]) -> None:
    assert rights(overlay) - {(right, None) for right in asked | KFP | CONTINUING} - KFP_BY_NAME == set()
