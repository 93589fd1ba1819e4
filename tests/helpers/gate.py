"""A gate before an HTTP server, that breaks what it is told to break."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSALS = {
    400: "<Error><Code>XAmzContentSHA256Mismatch</Code><Message>not what was signed</Message></Error>",
    403: "<Error><Code>{code}</Code><Message>what is said of KEYIDENTITY</Message></Error>",
    503: "<Error><Code>SlowDown</Code><Message>later</Message></Error>",
}


@dataclasses.dataclass
class Fault:
    """What happens to the next requests of a kind.

    Attributes:
        method: GET, PUT, POST, HEAD or DELETE, or several as 'GET|POST'.
        target: regular expression found in the path and query.
        how: 'status 503' answers with it; 'cut request' breaks the connection amid the request's body; 'cut reply'
            does so after the server has done what was asked; 'truncate' amid the reply's body; 'damage reply' alters a
            byte of it; 'wait 2' waits so many seconds first.
        times: how often.
        code: S3's, of status 403.
    """

    method: str
    target: str
    how: str
    times: int
    code: str


class Gate(ThreadingHTTPServer):
    """Stands before the server: records what is asked for, and breaks what it is told to break.

    Attributes:
        reads: the Range header of each GET of an object.
        cuts: after how many bytes each of the next GETs of an object breaks; with none left all goes through.
        seen: method and path of each request.
        unsigned: paths of bodies that came without their SHA-256 in the signature.
        before: called with method and path before a request is passed on.
    """

    daemon_threads = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.behind = behind
        self.reads: list[str | None] = []
        self.cuts: list[int] = []
        self.seen: list[tuple[str, str]] = []
        self.unsigned: list[str] = []
        self.before: Callable[[str, str], None] = lambda method, path: None
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def fail(self, method: str, target: str, how: str, times: int = 1, code: str = "AccessDenied") -> None:
        """Break the next requests of a kind."""
        self._faults.append(Fault(method, target, how, times, code))

    def mend(self) -> None:
        """Break nothing more."""
        self._faults.clear()

    def fault(self, method: str, path: str) -> Fault | None:
        """What is to happen to a request."""
        with self._lock:
            for fault in self._faults:
                if fault.times and re.fullmatch(fault.method, method) and re.search(fault.target, path):
                    fault.times -= 1
                    return fault
        return None

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that clients or faults have closed."""


class Passage(BaseHTTPRequestHandler):
    """Passes requests on."""

    protocol_version = "HTTP/1.1"
    server: Gate

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path)
        how = fault.how if fault else ""
        body = self._body(how)
        if body is None:
            return
        self.server.before(self.command, self.path)
        if fault and how.startswith("status "):
            status = int(how.split()[1])
            text = REFUSALS.get(status, "").format(code=fault.code).encode()
            self._reply(status, [("Content-Length", str(len(text)))], text)
            return
        if how.startswith("wait "):
            time.sleep(float(how.split()[1]))
        self._pass_on(how, body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _body(self, how: str) -> bytes | None:
        """The request's body; None after it was cut."""
        length = int(self.headers["Content-Length"] or 0)
        body = self.rfile.read(length // 2 if how == "cut request" else length)
        if how == "cut request":
            self._close()
            return None
        signed = self.headers["x-amz-content-sha256"]
        if self.command == "PUT" and length and signed != hashlib.sha256(body).hexdigest():
            self.server.unsigned.append(self.path)
        return body

    def _pass_on(self, how: str, request: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection.request(self.command, self.path, body=request or None, headers=headers)
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        if how == "cut reply":
            self._close()
            return
        if how == "damage reply":
            body = _damaged(body)
        whole = len(body)
        if how == "truncate":
            body = body[: whole // 2]
        if self.command == "GET" and not re.search("list-type|uploads|manifest", self.path):
            self.server.reads.append(self.headers["Range"])
            if self.server.cuts:
                body = body[: self.server.cuts.pop(0)]
        self._reply(reply.status, reply.getheaders(), body)
        if len(body) < whole:
            self._close()

    def _reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _close(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _damaged(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
