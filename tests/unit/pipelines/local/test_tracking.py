"""A local run in MLflow: its store never costs the run anything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.tracking import RunTracking, tracking_uri
from advantageflow_pipelines.local.workdir import WorkDir, create_workdir

SETTINGS = choose_settings(preset="tiny")


@pytest.fixture
def workdir(tmp_path: Path) -> WorkDir:
    return create_workdir(tmp_path / "run", SETTINGS)


def test_a_store_that_cannot_be_opened_is_told_once_and_the_run_goes_on(workdir: WorkDir) -> None:
    warnings: list[str] = []
    with RunTracking("sqlite:////proc/none/mlflow.db", workdir, SETTINGS, time.time(), warnings.append) as tracking:
        tracking.catch_up()
    assert tracking.run_id is None
    assert len(warnings) == 1
    assert "not recorded in MLflow" in warnings[0]
    assert "/proc/none/mlflow.db" in warnings[0]


def test_a_continued_run_stays_in_the_store_that_it_started_in(
    workdir: WorkDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri(workdir, tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    (workdir.root / "mlflow.json").write_text('{"tracking_uri": "http://one.example", "run_id": "a"}')
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other.example")
    assert tracking_uri(workdir, tmp_path) == "http://one.example"


def test_a_tracking_server_of_the_environment_is_used(
    workdir: WorkDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server.example")
    assert tracking_uri(workdir, tmp_path) == "http://server.example"
