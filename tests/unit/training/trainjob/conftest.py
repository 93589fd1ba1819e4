"""A Kubernetes API server that keeps TrainJobs, and what a test has become of them; a round's inputs."""

from __future__ import annotations

import datetime
import json
import re
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from kubeflow_trainer_api import models

from advantageflow.store.published import fetch_published, publish_folder
from advantageflow.training import trainjob_cluster, trainjob_follow

NAMESPACE = "team"
TOKEN = "a-service-account's-token"
RUNTIME = "advantageflow-torch"


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Pod:
    """A pod of a job: its status, and its log, which readers follow."""

    def __init__(self, job: str, index: int) -> None:
        self.name = f"{job}-node-0-{index}-x1y2z"
        self.log: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.body: dict[str, Any] = {
            "metadata": {
                "name": self.name, "namespace": NAMESPACE, "creationTimestamp": now(),
                "labels": {
                    "jobset.sigs.k8s.io/jobset-name": job,
                    "batch.kubernetes.io/job-completion-index": str(index),
                },
            },
            "spec": {"containers": [{"name": "node"}]},
            "status": {"phase": "Pending"},
        }  # fmt: skip

    @property
    def over(self) -> bool:
        return self.body["status"]["phase"] in ("Succeeded", "Failed")

    def more(self, sent: int) -> tuple[list[tuple[str, str]], bool]:
        """Lines beyond those that were sent, and whether those are all; waits for one of the two."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.log) > sent or self.over, timeout=10)
            return self.log[sent:], self.over

    def waits(self, reason: str, message: str, since: str | None = None) -> None:
        """Cannot start."""
        self.body["metadata"]["creationTimestamp"] = since or now()
        waiting = {"waiting": {"reason": reason, "message": message}}
        self._set({"phase": "Pending", "containerStatuses": [container_status(waiting)]})

    def says(self, *lines: str) -> None:
        """Runs, and writes to its log."""
        with self.changed:
            self.body["status"] = {"phase": "Running"}
            self.log += [(now(), line) for line in lines]
            self.changed.notify_all()
        time.sleep(0.002)  # times of lines tell them apart

    def ends(self, status: int, reason: str | None = None, **more: Any) -> None:
        """Its container ends."""
        reason = reason or ("Error" if status else "Completed")
        terminated = {"terminated": {"exitCode": status, "reason": reason, "finishedAt": now()}}
        self._set({"phase": "Failed" if status else "Succeeded",
                   "containerStatuses": [container_status(terminated)], **more})  # fmt: skip

    def _set(self, status: dict[str, Any]) -> None:
        with self.changed:
            self.body["status"] = status
            self.changed.notify_all()


def container_status(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "node", "ready": False, "restartCount": 0, "image": "i", "imageID": "i", "state": state}


class Job:
    """A TrainJob and its pods."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.name: str = body["metadata"]["name"]
        self.body = body
        self.pods = [Pod(self.name, index) for index in range(body["spec"]["trainer"]["numNodes"])]

    @property
    def arguments(self) -> str:
        """The address that the workers are told."""
        address: str = self.body["spec"]["trainer"]["args"][-1]
        return address

    def becomes(self, kind: str, reason: str, message: str) -> None:
        """Complete, Failed or Suspended."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
        self.body["status"] = {"conditions": [condition]}


class Cluster(ThreadingHTTPServer):
    """The API server.

    Attributes:
        jobs: by name.
        runtimes: that there are.
        asked: verb and resource of each request.
        refused: status and message of requests that are refused, by verb and resource.
        deleted: names of deleted jobs.
        controller: what becomes of a job that is created; runs beside the server.
        events: of all objects.
        log_cuts: after how many lines each of the next readings of a log breaks off.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.jobs: dict[str, Job] = {}
        self.runtimes = {RUNTIME}
        self.asked: list[tuple[str, str]] = []
        self.refused: dict[tuple[str, str], tuple[int, str]] = {}
        self.deleted: list[str] = []
        self.controller: Callable[[Job], None] = lambda job: None
        self.log_cuts: list[int] = []
        self.events: list[dict[str, Any]] = []

    @property
    def pods(self) -> list[Pod]:
        return [pod for job in list(self.jobs.values()) for pod in job.pods]

    def control(self, job: Job) -> None:
        """Have the controller see to a job; a test's own mistake fails the job."""
        try:
            self.controller(job)
        except Exception:
            job.becomes("Failed", "TestBroke", traceback.format_exc())

    def add(self, body: dict[str, Any]) -> Job:
        """Keep a job."""
        job = self.jobs[body["metadata"]["name"]] = Job(body)
        return job

    def handle_error(self, *_: Any) -> None:
        """Say nothing of readers that have gone."""


class Request(BaseHTTPRequestHandler):
    """One request of a client that must show its token."""

    protocol_version = "HTTP/1.1"
    server: Cluster

    def do_GET(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
        address = urlsplit(self.path)
        parts = re.fullmatch(rf"/api.*/namespaces/{NAMESPACE}/([a-z]+)(?:/([^/]+))?(/log)?", address.path)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._refuse(401, "Unauthorized")
        elif parts is None:
            self._refuse(404, "404 page not found")
        else:
            verb = {"GET": "get" if parts[2] else "list", "POST": "create", "DELETE": "delete"}[self.command]
            resource = parts[1] + (parts[3] or "")
            self.server.asked.append((verb, resource))
            if (verb, resource) in self.server.refused:
                self._refuse(*self.server.refused[verb, resource])
            else:
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                getattr(self, f"_{verb}_{resource.replace('/', '_')}")(parts[2], query, body)

    do_POST = do_DELETE = do_GET

    def _get_trainingruntimes(self, name: str, *_: Any) -> None:
        if name in self.server.runtimes:
            self._answer({"metadata": {"name": name}})
        else:
            self._refuse(404, f'trainingruntimes.trainer.kubeflow.org "{name}" not found')

    def _create_trainjobs(self, name: None, query: Any, body: dict[str, Any]) -> None:
        if models.TrainerV1alpha1TrainJob.from_dict(body).to_dict() != body:  # type: ignore[union-attr]
            self._refuse(422, "strict decoding error: unknown field")
            return
        if body["metadata"]["name"] in self.server.jobs:
            self._refuse(409, f'trainjobs.trainer.kubeflow.org "{body["metadata"]["name"]}" already exists')
            return
        job = self.server.add(body)
        threading.Thread(target=self.server.control, args=(job,), daemon=True).start()
        self._answer(body, 201)

    def _get_trainjobs(self, name: str, *_: Any) -> None:
        if name in self.server.jobs:
            self._answer(self.server.jobs[name].body)
        else:
            self._refuse(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')

    def _delete_trainjobs(self, name: str, *_: Any) -> None:
        job = self.server.jobs.pop(name, None)
        if job is None:
            self._refuse(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
            return
        self.server.deleted.append(name)
        for pod in job.pods:
            pod.ends(143)
        self._answer({"kind": "Status", "status": "Success"})

    def _list_pods(self, name: None, query: dict[str, str], *_: Any) -> None:
        label, _, value = query["labelSelector"].partition("=")
        found = [pod.body for pod in self.server.pods if pod.body["metadata"]["labels"][label] == value]
        self._answer({"kind": "PodList", "items": found})

    def _list_events(self, name: None, query: dict[str, str], *_: Any) -> None:
        assert query["fieldSelector"] == "type=Warning"
        self._answer({"kind": "EventList", "items": self.server.events})

    def _get_pods_log(self, name: str, query: dict[str, str], *_: Any) -> None:
        pod = next((pod for pod in self.server.pods if pod.name == name), None)
        if pod is None:
            self._refuse(404, f'pods "{name}" not found')
            return
        assert query["container"] == "node"
        assert query["follow"] == query["timestamps"] == "True"
        cut = self.server.log_cuts.pop(0) if self.server.log_cuts else None
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while True:
            lines, over = pod.more(sent)
            for at, text in lines:
                if sent == cut:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                line = f"{at} {text}\n".encode()
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                sent += 1
            if over and not lines:
                self.wfile.write(b"0\r\n\r\n")
                return

    def _answer(self, body: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, message: str) -> None:
        self._answer({"kind": "Status", "status": "Failure", "message": message, "code": status}, status)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that the kubeconfig leads to."""
    server = Cluster()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    kubeconfig = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("ADVANTAGEFLOW_TRAINING_IMAGE", "registry.example/training@sha256:0")
    for name in ("ADVANTAGEFLOW_NAMESPACE", "ADVANTAGEFLOW_PIPELINE_RUN_ID", "KFP_POD_NAME", "KFP_POD_UID"):
        monkeypatch.delenv(name, raising=False)
    for module in (trainjob_cluster, trainjob_follow):
        monkeypatch.setattr(module, "POLL", 0.02)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    """What the stage would hand over, of artifacts that nobody reads."""
    folders: dict[str, Any] = {name: tmp_path / "in" / name for name in ("prompts", "policy")}
    folders |= {name: [tmp_path / "in" / name / str(shard) for shard in (0, 1)] for name in ("rollouts", "scores")}
    for value in folders.values():
        for folder in value if isinstance(value, list) else [value]:
            folder.mkdir(parents=True)
            (folder / "file").write_text(str(folder))
    return {**folders, "seed": 3, "round_index": 2, "policy_out": tmp_path / "out" / "policy"}


@pytest.fixture
def trained() -> Callable[[Job], None]:
    """What the first process of a training does at its end: publish the result."""

    def publish(job: Job) -> None:
        call = json.loads((fetch_published(job.arguments, Path()) / "arguments.json").read_text())
        with tempfile.TemporaryDirectory() as name:
            result = Path(name)
            (result / "policy").mkdir()
            (result / "policy" / "state.json").write_text('{"round": 2}')
            event = {"time": 1, "task": "t", "event": "metrics", "values": {"loss": 1.0}}
            (result / "journal.jsonl").write_text(json.dumps(event) + "\n")
            publish_folder(result, call["result"])

    return publish
