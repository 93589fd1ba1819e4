"""MLflow: a server process reached over HTTP as tasks on a cluster reach it; a sqlite store, and journals for it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gate import Gate
from mlflow_published import write_journals

from advantageflow.tracking.mlflow_store import sqlite_uri
from advantageflow.tracking.publisher import Publisher

_PATIENCE = (
    180.0  # seconds; making the database and starting take a fraction of it on a machine with nothing else to do
)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on a sqlite file."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts",
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait_until_healthy(process, f"http://127.0.0.1:{port}", log_file)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # the group that this fixture started
        process.wait(30)


@pytest.fixture
def gate(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Before the server."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with Gate(int(mlflow_server.rpartition(":")[2])) as gate:
        threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield gate
        gate.shutdown()


def _wait_until_healthy(process: subprocess.Popen[bytes], address: str, log_file: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start:\n{log_file.read_text()}")


@pytest.fixture(scope="session")
def created_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose tables exist: creating them takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Publisher(sqlite_uri(path), "advantageflow", "first", {}, {}).close()
    return path


@pytest.fixture
def store(created_store: Path, tmp_path: Path) -> str:
    """In a folder whose name is no address."""
    copy = tmp_path / "what?now" / "mlflow.db"
    copy.parent.mkdir()
    copy.write_bytes(created_store.read_bytes())
    return sqlite_uri(copy)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journals of a small run: prompts, two rollout shards, a training that fails."""
    folder = tmp_path / "journal"
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(folder))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    write_journals(tmp_path)
    return folder
