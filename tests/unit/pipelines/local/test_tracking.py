"""A local run in MLflow: its store never costs the run anything."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

import pytest

from advantageflow.errors import StoreError
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.tracking import RunTracking, is_delivered, sync_run, tracking_uri
from advantageflow_pipelines.local.workdir import WorkDir, create_workdir, locked, temporary_folder

pytestmark = pytest.mark.fault

SETTINGS = choose_settings(preset="tiny")


@pytest.fixture
def workdir(tmp_path: Path) -> WorkDir:
    return create_workdir(tmp_path / "run", SETTINGS)


def test_a_store_that_cannot_be_opened_is_told_once_and_the_run_goes_on(workdir: WorkDir, tmp_path: Path) -> None:
    warnings: list[str] = []
    assert is_delivered(workdir)
    with RunTracking("sqlite:////proc/none/mlflow.db", workdir, warnings.append) as tracking:
        tracking.catch_up()
    assert tracking.run_id is None
    assert len(warnings) == 1
    assert f"not recorded in MLflow; bring it there later with: advantageflow sync {workdir.root}" in warnings[0]
    assert "/proc/none/mlflow.db" in warnings[0]
    assert not is_delivered(workdir), "the next attempt is to bring it there"
    assert tracking_uri(workdir, tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}", "or to any other store"


def test_a_continued_run_stays_in_the_store_that_it_started_in(
    workdir: WorkDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri(workdir, tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    (workdir.root / "mlflow.json").write_text('{"tracking_uri": "http://one.example", "run_id": "a"}')
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other.example")
    assert tracking_uri(workdir, tmp_path) == "http://one.example"


def test_a_server_that_accepts_and_never_answers_is_left_after_its_time_and_the_run_kept_from_others_meanwhile(
    workdir: WorkDir,
) -> None:
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        assert not sync_run(workdir, address, warnings.append, 1.0)
        assert time.monotonic() - started < 30
        with pytest.raises(StoreError, match="another process runs here"), locked(workdir):
            pass
        # Before the server is gone, which the thread that was left behind is told of as a failure.
        assert [f"advantageflow sync {workdir.root}" in warning for warning in warnings] == [True]


@pytest.mark.parametrize("content", ["", '{"run_id": "a', "[]", '{"run_id": 3, "tracking_uri": []}'])
def test_a_half_record_of_the_run_in_mlflow_is_told_and_made_anew(
    workdir: WorkDir, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (workdir.root / "mlflow.json").write_text(content)
    assert tracking_uri(workdir, tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert "the run gets a new one in MLflow" in caplog.text


def test_what_an_earlier_attempt_left_of_its_temporary_files_goes_and_nothing_stays(workdir: WorkDir) -> None:
    (workdir.root / ".tmp" / "killed").mkdir(parents=True)
    shared = tempfile.gettempdir()
    with temporary_folder(workdir):
        made = Path(tempfile.mkdtemp())
        assert made.parent == workdir.root / ".tmp" == Path(os.environ["TMPDIR"])
        assert [entry.name for entry in made.parent.iterdir()] == [made.name]
    assert tempfile.gettempdir() == shared
    assert not (workdir.root / ".tmp").exists()


def test_a_tracking_server_of_the_environment_is_used(
    workdir: WorkDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server.example")
    assert tracking_uri(workdir, tmp_path) == "http://server.example"
