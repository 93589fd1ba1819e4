"""Stage tasks that publish their own journals, as they do where no process sees all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.mlflow_store import open_client, sqlite_uri


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    return open_client(sqlite_uri(tmp_path_factory.mktemp("store") / "mlflow.db"))


@pytest.fixture(autouse=True)
def cluster(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADVANTAGEFLOW_JOURNAL", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "ADVANTAGEFLOW_PIPELINE_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cluster")


def run_task(round_index: int, value: float) -> None:
    with stage_journal("training", round_index) as journal:
        journal.useful()
        journal.metrics({"train/loss": value}, parent=True)


def test_tasks_of_one_pipeline_run_share_a_parent(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", "kfp-7")
    run_task(1, 0.5)
    run_task(2, 0.25)
    experiment = client.get_experiment_by_name("cluster")
    assert experiment is not None
    [parent] = client.search_runs([experiment.experiment_id], "tags.`kfp.pipeline_run_id` = 'kfp-7'")
    history = client.get_metric_history(parent.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.25)]
    tasks = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {task.info.run_name: task.info.status for task in tasks} == {
        "round 1 / training": "FINISHED",
        "round 2 / training": "FINISHED",
    }


def test_a_run_that_the_platform_opened_for_the_task_is_used_and_left_open(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = client.create_experiment("plug-in")
    parent = client.create_run(home)
    task = client.create_run(home, tags={"mlflow.parentRunId": parent.info.run_id})
    monkeypatch.setenv("MLFLOW_RUN_ID", task.info.run_id)
    run_task(3, 0.125)
    assert len(client.search_runs([home])) == 2
    assert client.get_run(task.info.run_id).data.metrics["train/loss"] == 0.125
    assert client.get_run(task.info.run_id).info.status == "RUNNING"
    assert client.get_run(parent.info.run_id).data.metrics["train/loss"] == 0.125


def test_a_failing_store_costs_a_warning_not_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database at all")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(tmp_path / "broken.db"))
    run_task(1, 0.5)
    assert "warning: this task is not in MLflow" in capsys.readouterr().err


def test_a_stages_own_error_comes_through_and_fails_its_run(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "failing")
    with pytest.raises(ZeroDivisionError, match="a bug"), stage_journal("reward", 1, 0):
        raise ZeroDivisionError("a bug")
    experiment = client.get_experiment_by_name("failing")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ZeroDivisionError: a bug"
