"""The environment of tasks of a pipeline run: a real MLflow server, and a stand-in for Kubeflow's API server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from kfp_stub.server import KfpStub, serving
from mlflow import MlflowClient

from advantageflow.tracking import mlflow_store
from advantageflow.tracking.mlflow_store import open_client

NAMES = (
    "ADVANTAGEFLOW_JOURNAL", "ADVANTAGEFLOW_KFP_URL", "ADVANTAGEFLOW_MLFLOW_URL", "ADVANTAGEFLOW_PRESET",
    "KF_PIPELINES_SA_TOKEN_PATH", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID",
)  # fmt: skip


@pytest.fixture(scope="module")
def client(mlflow_server: str) -> MlflowClient:
    return open_client(mlflow_server)


@pytest.fixture(autouse=True)
def kubeflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpStub]:
    """The server that tasks ask what became of a run."""
    with serving() as stub:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", stub.url)
        yield stub
    assert not stub.violations


@pytest.fixture(autouse=True)
def pipeline(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of tasks of one pipeline run, whose id this is; an experiment of its own is named the same."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    pipeline = f"kfp-{uuid.uuid4().hex[:8]}"
    monkeypatch.setattr(mlflow_store, "WAITS", ())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", pipeline)
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", pipeline)
    return pipeline
