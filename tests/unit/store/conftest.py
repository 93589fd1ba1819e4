"""Small artifacts that hold together, and an S3 server process with a faulty gate before it."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from folder_files import POLICY, write
from gate import Gate

from advantageflow.records import Prompt, Rollout, Score

SECRETS = {"AWS_ACCESS_KEY_ID": "KEYIDENTITY", "AWS_SECRET_ACCESS_KEY": "verysecret", "AWS_SESSION_TOKEN": "passtoken"}


@pytest.fixture
def prompts() -> list[Prompt]:
    return [
        Prompt("a red circle", "train", "colors", {"tag": "colors", "include": [{"class": "circle", "count": 1}]}),
        Prompt("ein grüner Würfel, 好", "eval", "colors", {}),
    ]


@pytest.fixture
def rollouts(prompts: list[Prompt]) -> list[Rollout]:
    return [Rollout(prompts[0].prompt_id, 3, index, 2**63 - 1 - index) for index in (0, 1)]


@pytest.fixture
def scores(rollouts: list[Rollout]) -> list[Score]:
    return [Score(r.rollout_id, {"strict": 1.0, "soft": 0.1 + r.index}, {"found": ["a"]}, "v1") for r in rollouts]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[int]:
    """The port of an S3 server process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sys; from moto.server import main; main(sys.argv[1:])"
    server = subprocess.Popen(
        [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port, server)
        yield port
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the S3 server does not start")


@pytest.fixture
def secrets() -> dict[str, str]:
    """The credentials, by the environment variables that hold them."""
    return SECRETS


@pytest.fixture
def gate(s3_server: int, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(s3_server)
    threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{gate.server_port}")
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    yield gate
    gate.shutdown()
    gate.server_close()


@pytest.fixture
def client(gate: Gate, s3_server: int) -> Iterator[Any]:
    """Writes objects, past the gate; there is an empty bucket named 'bucket'."""
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{s3_server}")
    client.create_bucket(Bucket="bucket")
    yield client
    connection = http.client.HTTPConnection("127.0.0.1", s3_server)
    connection.request("POST", "/moto-api/reset")
    connection.getresponse().read()
    connection.close()


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write(tmp_path / "policy", POLICY)
