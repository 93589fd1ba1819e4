"""The stand-in's HTTP side: which operation a request is, and its answer or the failure that a test asks for."""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import json
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from kfp_stub.state import Record, Refused, State

_JSON = "application/json"
_OPERATIONS = {
    "GET /healthz": "healthz_service_get_healthz",
    "POST /experiments": "experiment_service_create_experiment",
    "GET /experiments": "experiment_service_list_experiments",
    "POST /pipelines": "pipeline_service_create_pipeline",
    "GET /pipelines": "pipeline_service_list_pipelines",
    "POST /pipelines/upload_version": "upload_pipeline_version",
    "GET /pipelines/(?P<pipeline_id>[^/:]+)/versions": "pipeline_service_list_pipeline_versions",
    "GET /pipelines/(?P<pipeline_id>[^/:]+)/versions/(?P<pipeline_version_id>[^/:]+)": (
        "pipeline_service_get_pipeline_version"
    ),
    "POST /runs": "run_service_create_run",
    "GET /runs": "run_service_list_runs",
    "GET /runs/(?P<run_id>[^/:]+)": "run_service_get_run",
    "POST /runs/(?P<run_id>[^/:]+):terminate": "run_service_terminate_run",
    "POST /recurringruns": "recurring_run_service_create_recurring_run",
    "GET /recurringruns": "recurring_run_service_list_recurring_runs",
    "GET /recurringruns/(?P<recurring_run_id>[^/:]+)": "recurring_run_service_get_recurring_run",
    "DELETE /recurringruns/(?P<recurring_run_id>[^/:]+)": "recurring_run_service_delete_recurring_run",
    "POST /recurringruns/(?P<recurring_run_id>[^/:]+):disable": "recurring_run_service_disable_recurring_run",
    "POST /recurringruns/(?P<recurring_run_id>[^/:]+):enable": "recurring_run_service_enable_recurring_run",
}


@dataclass(frozen=True)
class Fault:
    """An answer that comes instead of the API's; with status 0, none does, and the connection is cut."""

    status: int
    body: bytes
    kind: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)


def said(status: int, message: str, **more: Any) -> Fault:
    """A refusal in the API's own form."""
    return Fault(status, json.dumps({"error": message, "message": message, **more}).encode())


@dataclass
class KfpStub:
    """A server that runs.

    Attributes:
        url: its address.
        state: what it keeps.
        token: that requests must carry; None for none.
        faults: answers to come, by operation, each once.
        violations: requests that the API does not have, or that the stand-in cannot answer.
        seen: requests: operation, headers, and query or body.
    """

    url: str
    state: State
    token: str | None = None
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], Record]] = field(default_factory=list)

    def bodies(self, operation: str) -> list[Record]:
        """What an operation was asked with."""
        return [asked for name, _, asked in self.seen if name == operation]


@contextlib.contextmanager
def serving(*, several_users: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[KfpStub]:
    """A stand-in on a port of its own; with `tls`, a secure one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "https" if tls else "http"
    stub = KfpStub(f"{scheme}://127.0.0.1:{server.server_port}/pipeline", State(several_users=several_users))
    server.stub = stub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer goes out in one piece, and does not wait for the other side's acknowledgement

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_PATCH = do_PUT = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Nothing: what was asked is in `seen`."""

    def _answer(self) -> None:
        stub: KfpStub = self.server.stub  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        found = _find_operation(self.command, address.path.removeprefix("/pipeline"))
        if found is None:
            stub.violations.append(f"{self.command} {address.path} is none of the API's operations")
            self._send(Fault(404, b"404 page not found", "text/plain"))
            return
        operation, parameters = found
        asked: Record = {name: texts[0] for name, texts in parse_qs(address.query, keep_blank_values=True).items()}
        kind = self.headers.get("Content-Type") or ""
        if kind.startswith("multipart/"):
            asked["file"] = _form_file(kind, body)
        elif body not in (b"", b"null"):
            asked["body"] = json.loads(body)
        stub.seen.append((operation, dict(self.headers), asked))
        faults = stub.faults.get(operation)
        if faults:
            self._send(faults.pop(0))
        elif stub.token is not None and self.headers.get("Authorization") != f"Bearer {stub.token}":
            self._send(said(401, "Request is not authenticated", code=16))
        else:
            self._send(self._perform(stub, operation, {**parameters, **asked}))

    def _perform(self, stub: KfpStub, operation: str, asked: Record) -> Fault:
        try:
            answer = stub.state.operation(operation)(**asked)
        except Refused as refused:
            return Fault(refused.status, json.dumps(refused.body).encode())
        except Exception as error:
            stub.violations.append(f"{operation} is not made, or wrongly: {error!r}")
            return said(500, "the stand-in failed", code=13)
        return Fault(200, json.dumps(answer).encode())

    def _send(self, answer: Fault) -> None:
        if not answer.status:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.kind, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()


def _find_operation(verb: str, path: str) -> tuple[str, dict[str, str]] | None:
    """The operation of a request, and its path parameters."""
    for pattern, operation in _OPERATIONS.items():
        matched = re.fullmatch(pattern, f"{verb} {path.removeprefix('/apis/v2beta1')}")
        if matched:
            return operation, {name: unquote(text) for name, text in matched.groupdict().items()}
    return None


def _form_file(kind: str, body: bytes) -> bytes:
    """The file in a multipart form."""
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    [file] = [
        part for part in form.iter_parts() if part.get_param("name", header="content-disposition") == "uploadfile"
    ]
    return file.get_payload(decode=True)  # type: ignore[return-value]
