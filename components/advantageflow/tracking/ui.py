"""Opening MLflow's pages on a local store."""

from __future__ import annotations

import sys
from pathlib import Path

from advantageflow.errors import TrackingError
from advantageflow.tracking.mlflow_store import sqlite_uri


def ui_command(store: Path, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves MLflow's pages on the sqlite file `store`.

    Raises:
        TrackingError: there is no such file.
    """
    if not store.is_file():
        raise TrackingError(
            "there is no MLflow store yet",
            where=str(store),
            remedy="start a run first (advantageflow run), or name the folder that holds its mlflow.db",
        )
    address = ["--host", host, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", sqlite_uri(store), *address]
