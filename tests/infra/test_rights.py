"""The runner's rights: all that Kubeflow's client asks of Kubernetes for a TrainJob, and not much else.

The client runs for real, against a server that answers as Kubernetes would and records what it was asked.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer import CustomTrainerContainer, TrainerClient
from kubeflow.trainer.types.types import Runtime
from kubernetes import client

if TYPE_CHECKING:
    from conftest import Overlay

NOW = "2026-01-01T00:00:00Z"
PATH = re.compile(
    r"/apis?(?:/(?P<group>[\w.]+))?/v\w+(?:/namespaces/(?P<namespace>[\w-]+))?"
    r"/(?P<resource>\w+)(?:/(?P<name>[\w-]+))?(?:/(?P<sub>\w+))?$"
)
Right = tuple[str, str, str]  # group, resource, verb


class Kubernetes(ThreadingHTTPServer):
    """An API server with one TrainingRuntime, where every TrainJob has succeeded.

    Attributes:
        runtime: the one.
        job: the TrainJob that was created last.
        asked: for what rights each request would need.
    """

    def __init__(self, runtime: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.runtime = runtime
        self.job: dict[str, Any] = {}
        self.asked: set[Right] = set()

    def answer(self, resource: str, name: str | None, sub: str | None) -> dict[str, Any] | str | None:
        """What there is of a resource; None: there is no such object."""
        of_job = {"metadata": {"name": "node-0", "labels": {
            "jobset.sigs.k8s.io/jobset-name": "job", "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "batch.kubernetes.io/job-completion-index": "0"}}}  # fmt: skip
        pod = of_job | {"spec": {"containers": [{"name": "node", "image": "i"}]}, "status": {"phase": "Running"}}
        if sub == "log":
            return "step 1\nstep 2\n"
        items = {"trainjobs": self.job, "trainingruntimes": self.runtime, "pods": pod}
        if name is None:
            return {"items": [items[resource]] if items.get(resource) else []}
        return items.get(resource)


class Request(BaseHTTPRequestHandler):
    """One request to it."""

    server: Kubernetes

    def do_GET(self) -> None:
        self.serve("get")

    def do_POST(self) -> None:
        self.serve("create")

    def do_DELETE(self) -> None:
        self.serve("delete")

    def serve(self, verb: str) -> None:
        path = self.path.partition("?")[0]
        found = PATH.match(path)
        assert found, path
        resource, name, sub = found["resource"], found["name"], found["sub"]
        if verb == "get" and name is None:
            verb = "watch" if "watch=" in self.path else "list"
        if found["namespace"] != "kubeflow-system":  # where Trainer lets everybody read its version
            self.server.asked.add((found["group"] or "", f"{resource}/{sub}" if sub else resource, verb))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.server.answer(resource, name, sub)
        if verb == "create":
            reply = self.server.job = json.loads(body)
            reply["metadata"] |= {"namespace": "kubeflow", "creationTimestamp": NOW}
            condition = {"type": "Complete", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": NOW}
            reply["status"] = {"conditions": [condition]}
        missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
        content = reply if isinstance(reply, str) else json.dumps(reply or missing)
        self.send_response(404 if reply is None else 200)
        self.send_header("Content-Type", "text/plain" if isinstance(reply, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def kubernetes(overlays: dict[str, Overlay]) -> Iterator[Kubernetes]:
    server = Kubernetes(overlays["multi-node"].one("TrainingRuntime", "advantageflow-torch"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def trainer(kubernetes: Kubernetes) -> TrainerClient:
    configuration = client.Configuration(host=f"http://127.0.0.1:{kubernetes.server_port}")
    return TrainerClient(KubernetesBackendConfig(namespace="kubeflow", client_configuration=configuration))


def rights(overlay: Overlay) -> set[Right]:
    """What the runner may do in the namespace of runs, to objects of any name."""
    roles = [
        overlay.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for binding in overlay.all("RoleBinding") + overlay.all("ClusterRoleBinding")
        if {"kind": "ServiceAccount", "name": "advantageflow-runner", "namespace": "kubeflow"} in binding["subjects"]
    ]
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        if "resourceNames" not in rule
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_kubeflows_client_takes_the_runtime_for_one_of_torch(trainer: TrainerClient) -> None:
    runtime = trainer.get_runtime("advantageflow-torch")
    assert (runtime.trainer.framework, runtime.trainer.num_nodes) == ("torch", 2)
    assert (runtime.trainer.device, runtime.trainer.device_count) == ("gpu", "16")


def test_the_runner_may_start_follow_and_delete_a_trainjob(
    trainer: TrainerClient, kubernetes: Kubernetes, overlay: Overlay
) -> None:
    runtime: Runtime = trainer.get_runtime("advantageflow-torch")
    container = CustomTrainerContainer(image="registry.example/training@sha256:" + "0" * 64, num_nodes=2)
    name = trainer.train(runtime=runtime, trainer=container)
    assert list(trainer.get_job_logs(name, follow=True)) == ["step 1", "step 2"]
    assert trainer.wait_for_job_status(name).status == "Complete"
    trainer.get_job_events(name)
    trainer.list_runtimes()
    trainer.delete_job(name)
    group = "trainer.kubeflow.org"
    assert {(group, "trainjobs", verb) for verb in ("create", "get", "delete")} < kubernetes.asked
    assert ("", "pods/log", "get") in kubernetes.asked
    assert kubernetes.asked <= rights(overlay)


def test_the_runner_may_do_what_a_kfp_task_reports(overlay: Overlay) -> None:
    assert {("argoproj.io", "workflowtaskresults", verb) for verb in ("create", "patch")} <= rights(overlay)
    named = {
        (resource, name)
        for rule in overlay.one("Role", "advantageflow-runner", "kubeflow")["rules"]
        if rule["verbs"] == ["get"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [])
    }
    assert named == {("configmaps", "kfp-launcher"), ("secrets", "mlpipeline-minio-artifact")}


def test_the_runner_may_change_nothing_but_its_own_jobs_and_results(overlay: Overlay) -> None:
    changes = {(resource, verb) for _, resource, verb in rights(overlay) if verb not in ("get", "list", "watch")}
    assert changes == {
        ("trainjobs", "create"), ("trainjobs", "delete"), ("workflowtasksets/status", "patch"),
        ("workflowtaskresults", "create"), ("workflowtaskresults", "patch"),
    }  # fmt: skip
    assert not {right for right in rights(overlay) if right[1] in ("secrets", "pods/exec") or "*" in right}
