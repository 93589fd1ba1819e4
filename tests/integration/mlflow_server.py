"""A real `mlflow server` in a process of its own, for tests that reach it over HTTP as tasks on a cluster do."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_PATIENCE = 120.0  # seconds; making the database and starting take a fraction of it


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run a server on a sqlite file in the folder; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait_until_healthy(process, address, log_file)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(20)


def _wait_until_healthy(process: subprocess.Popen[bytes], address: str, log_file: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start:\n{log_file.read_text()}")
