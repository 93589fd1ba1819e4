"""The stand-in's HTTP side: it keeps TrainJobs, and records for which rights it was asked."""

import contextlib
import json
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from kubeflow_trainer_api import models

from kubernetes_stub.state import Job, Pod

TOKEN = "a-service-account's-token"
RUNTIME = "advantageflow-torch"
_VERSION = ("major", "minor", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")
_TRAINER = "trainer.kubeflow.org"
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[a-z0-9.]+))/v\w+(?:/namespaces/(?P<namespace>[\w-]+))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?P<sub>/log)?"
)


class Right(NamedTuple):
    """What a role grants, and a request needs."""

    group: str
    resource: str
    verb: str


class Cluster(ThreadingHTTPServer):
    """The API server of a cluster, of which one namespace is used.

    Attributes:
        namespace: the one.
        jobs: by name.
        runtimes: that there are, by name.
        asked: the right that each request needs.
        strays: paths of requests to elsewhere than the namespace.
        refused: status and message of requests that are refused, by the right that they need; a list of them for as
            many requests.
        lost: rights of requests that are carried out, each once, without an answer.
        deleted: names of deleted jobs.
        controller: what becomes of a job that is created; runs beside the server.
        events: of all objects.
        objects: others, by resource and name.
        version: of Kubernetes.
        forbidden: what it says that service accounts may not.
        pod: what becomes of a pod that belongs to no job: its status, and its log.
        log_cuts: after how many lines each of the next readings of a log breaks off.
    """

    daemon_threads = True

    def __init__(self, namespace: str) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.namespace = namespace
        self.jobs: dict[str, Job] = {}
        self.runtimes: dict[str, dict[str, Any]] = {RUNTIME: {"metadata": {"name": RUNTIME}}}
        self.asked: list[Right] = []
        self.strays: list[str] = []
        self.refused: dict[Right, Any] = {}
        self.lost: list[Right] = []
        self.deleted: list[str] = []
        self.controller: Callable[[Job], None] = lambda job: None
        self.log_cuts: list[int] = []
        self.events: list[dict[str, Any]] = []
        self.objects: dict[tuple[str, str], Any] = {}
        self.version = "v1.36.3"
        self.forbidden: set[Right] = set()
        self.pod: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: {"status": {"phase": "Pending"}}

    @property
    def kubeconfig(self) -> dict[str, Any]:
        """What leads a client here."""
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": self.namespace}}],
        }  # fmt: skip

    @property
    def pods(self) -> list[Pod]:
        return [pod for job in list(self.jobs.values()) for pod in job.pods]

    def control(self, job: Job) -> None:
        """Have the controller see to a job; a test's own mistake fails the job."""
        try:
            self.controller(job)
        except Exception:
            job.becomes("Failed", "TestBroke", traceback.format_exc())

    def wait_until_seen(self) -> None:
        """Wait until who follows a job has looked at it as it is now, and gone on to look again."""
        looks = self._looks() + 3  # one may be under way, and what the last one finds is not acted on yet
        deadline = time.monotonic() + 60
        while self._looks() < looks:
            if time.monotonic() > deadline:
                raise TimeoutError("nobody looks at the job")
            time.sleep(0.01)

    def _looks(self) -> int:
        return self.asked.count(Right(_TRAINER, "trainjobs", "get"))

    def add(self, body: dict[str, Any]) -> Job:
        """Keep a job."""
        job = self.jobs[body["metadata"]["name"]] = Job(body, self.namespace)
        return job

    def handle_error(self, *_: Any) -> None:
        """Say nothing of readers that have gone."""


class Request(BaseHTTPRequestHandler):
    """One request of a client that must show its token."""

    protocol_version = "HTTP/1.1"
    server: Cluster
    _lost = False

    def do_GET(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
        address = urlsplit(self.path)
        parts = _PATH.fullmatch(address.path)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._refuse(401, "Unauthorized")
        elif address.path == "/version/":
            self._answer({**dict.fromkeys(_VERSION, ""), "gitVersion": self.server.version})
        elif parts is None or parts["namespace"] not in (None, self.server.namespace):
            self.server.strays.append(address.path)
            self._refuse(404, "404 page not found")
        else:
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            read = "get" if parts["name"] else "watch" if "watch" in query else "list"
            verb = {"GET": read, "POST": "create", "DELETE": "delete"}[self.command]
            resource = parts["resource"] + (parts["sub"] or "")
            right = Right(parts["group"] or "", resource, verb)
            self.server.asked.append(right)
            self._lost = right in self.server.lost
            if self._lost:
                self.server.lost.remove(right)
            refused = self.server.refused.get(right)
            if isinstance(refused, list):
                refused = refused.pop(0) if refused else None
            if refused:
                self._refuse(*refused)
            else:
                self._do(verb, resource, parts["name"], query, body)

    do_POST = do_DELETE = do_GET

    def _do(self, verb: str, resource: str, name: str | None, query: dict[str, str], body: Any) -> None:
        kept = (resource.partition("/")[0], name) in self.server.objects
        own = None if kept else getattr(self, f"_{verb}_{resource.replace('/', '_')}", None)
        if own is not None:
            own(name, query, body)
        else:
            getattr(self, f"_{verb}_object")(resource, name, query)

    def _get_object(self, resource: str, name: str, query: dict[str, str]) -> None:
        kind, _, part = resource.partition("/")
        found = self.server.objects.get((kind, name))
        if found is None:
            self._refuse(404, f'{kind} "{name}" not found')
        else:
            last = int(query.get("tailLines", 0))
            self._answer("\n".join(found["log"].splitlines()[-last:]) if part else found)

    def _list_object(self, resource: str, *_: Any) -> None:
        items = [one for (kind, _), one in self.server.objects.items() if kind == resource]
        self._answer({"kind": "List", "items": items})

    def _create_pods(self, name: None, query: Any, body: dict[str, Any], *_: Any) -> None:
        """A pod of no job: a test says what becomes of it."""
        body["metadata"]["name"] = f"{body['metadata']['generateName']}x1"
        self.server.objects["pods", body["metadata"]["name"]] = {**body, **self.server.pod(body)}
        self._answer(body, 201)

    def _delete_object(self, resource: str, name: str, *_: Any) -> None:
        self._answer(self.server.objects.pop((resource, name)))
        self.server.deleted.append(name)

    def _create_localsubjectaccessreviews(self, name: None, query: Any, body: dict[str, Any], *_: Any) -> None:
        spec = body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (spec["resource"], spec.get("subresource"))))
        allowed = Right(spec.get("group", ""), resource, spec["verb"]) not in self.server.forbidden
        self._answer({**body, "status": {"allowed": allowed}}, 201)

    def _get_trainingruntimes(self, name: str, *_: Any) -> None:
        if name in self.server.runtimes:
            self._answer(self.server.runtimes[name])
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

    def _list_trainjobs(self, name: None, query: dict[str, str], *_: Any) -> None:
        label, _, value = query["labelSelector"].partition("=")
        bodies = [job.body for job in list(self.server.jobs.values())]
        found = [body for body in bodies if body["metadata"]["labels"].get(label) == value]
        self._answer({"kind": "TrainJobList", "items": found})

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
        asked = dict(one.split("=") for one in query["labelSelector"].split(","))
        others = [one for (kind, _), one in self.server.objects.items() if kind == "pods"]
        pods = [*(pod.body for pod in self.server.pods), *others]
        found = [one for one in pods if asked.items() <= one["metadata"].get("labels", {}).items()]
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
        assert query["timestamps"] == "True"
        lines = [f"{at} {text}\n" for at, text in pod.said(int(query.get("sinceSeconds", 10**6)))]
        cut = self.server.log_cuts.pop(0) if self.server.log_cuts and lines else len(lines)
        self.send_response(200)
        self.send_header("Content-Length", str(len("".join(lines).encode())))
        self.end_headers()
        self.wfile.write("".join(lines[:cut]).encode())
        if cut < len(lines):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, body: Any, status: int = 200) -> None:
        if self._lost:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
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


@contextlib.contextmanager
def serving(namespace: str) -> Iterator[Cluster]:
    """A cluster whose API answers within the block."""
    server = Cluster(namespace)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
