"""The probe in a pod: what it reaches and what it does not, and nothing left in the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advantageflow import probe


@pytest.fixture(autouse=True)
def in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which Kubeflow does not answer, and nobody set MLflow's address."""
    for name in ("AWS_MAX_ATTEMPTS", "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_each_connection_is_tried_whatever_becomes_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe.main([str(tmp_path / "store")])
    told = {one["what"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {what: one["fine"] for what, one in told.items()} == {"store": True, "MLflow": True, "Kubeflow's API": False}
    assert "MLFLOW_TRACKING_URI is not set" in told["MLflow"]["words"]
    assert "refused" in told["Kubeflow's API"]["words"]
    assert not list((tmp_path / "store").rglob("manifest.json"))


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    probe.main([str(tmp_path / "file" / "store")])
    store = json.loads(capsys.readouterr().out.splitlines()[0])
    assert not store["fine"]
    assert "what to do: " in store["words"]
