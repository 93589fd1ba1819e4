"""Provenance tags of a run, and the command that opens MLflow's pages."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import pytest

from advantageflow import __version__
from advantageflow.errors import TrackingError
from advantageflow.tracking.provenance import REVISION_ENV, provenance
from advantageflow.tracking.ui import ui_command


def test_provenance_names_python_and_package_versions() -> None:
    tags = provenance()
    assert tags["python"] == platform.python_version()
    assert tags["version.advantageflow"] == __version__
    assert tags["version.torch"] == metadata.version("torch")
    assert all(isinstance(value, str) and value for value in tags.values())


def test_in_an_image_the_revision_is_the_one_that_it_was_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for revision, dirty in (("1a2b3c", "false"), ("1a2b3c-dirty", "true")):
        monkeypatch.setenv(REVISION_ENV, revision)
        assert provenance()["mlflow.source.git.commit"] == "1a2b3c"
        assert provenance()["git.dirty"] == dirty


def test_the_ui_command_serves_the_given_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")
    command = ui_command(tmp_path / "mlflow.db", "0.0.0.0", 5001)
    assert command[1:4] == ["-m", "mlflow", "ui"]
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"
    assert command[command.index("--host") + 1] == "0.0.0.0"
    assert command[command.index("--port") + 1] == "5001"


def test_the_ui_without_a_store_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="start a run first"):
        ui_command(tmp_path / "mlflow.db")
