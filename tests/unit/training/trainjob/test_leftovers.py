"""TrainJobs whose tasks were killed: found by their pipeline run, and removed with their files at its end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp_stub.server import serving
from kubernetes_stub.server import Cluster, Right
from kubernetes_stub.state import Job
from kubernetes_stub.task import complete

from advantageflow.errors import ClusterError
from advantageflow.settings import TrainingSettings
from advantageflow.store.published import is_published, publish_folder
from advantageflow.training.trainjob.launch import remove_leftovers, train_on_nodes

RUN = "ADVANTAGEFLOW_PIPELINE_RUN_ID"
LIST_JOBS = Right("trainer.kubeflow.org", "trainjobs", "list")


@pytest.fixture
def left(
    cluster: Cluster, tmp_path: Path, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Job]:
    """A job of some run, still there with its inputs and what its processes published."""

    def leave(run: str) -> Job:
        bodies: list[dict[str, Any]] = []

        def control(job: Job) -> None:
            bodies.append(copy.deepcopy(job.body))
            complete(job)

        monkeypatch.setenv(RUN, run)
        cluster.controller = control
        train_on_nodes(TrainingSettings(nodes=2), str(tmp_path / "store"), arguments, None)
        job = cluster.add(bodies[0])
        publish_folder(arguments["prompts"], job.arguments)
        publish_folder(arguments["prompts"], f"{Path(job.arguments).parent}/result")
        publish_folder(arguments["prompts"], f"{Path(job.arguments).parent}/failures/1")
        cluster.deleted.clear()
        return job

    return leave


def manifests(folder: Path) -> list[Path]:
    return list(folder.rglob("manifest.json"))


def test_the_run_s_jobs_are_removed_with_their_files_and_no_others(
    cluster: Cluster, tmp_path: Path, left: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = left("run-1"), left("run-2")
    assert len(manifests(tmp_path / "store" / "trainjobs" / "run-1")) == 3
    monkeypatch.setenv(RUN, "run-1")
    remove_leftovers(str(tmp_path / "store"))
    assert cluster.deleted == [mine.name]
    assert manifests(tmp_path / "store" / "trainjobs" / "run-1") == []
    assert list(cluster.jobs) == [other.name]
    assert is_published(other.arguments)


def test_files_that_a_cancelled_run_left_without_a_job_are_removed_by_a_later_run(
    cluster: Cluster, tmp_path: Path, left: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("run-1", "cancelled", "running", "unknown"):
        cluster.jobs.pop(left(run).name)
    with serving() as kfp:
        kfp.state.runs |= {
            run: {"run_id": run, "created_at": "2026-01-01T00:00:00Z"} for run in ("cancelled", "running")
        }
        kfp.state.stories = {"cancelled": [{"state": "FAILED"}], "running": [{"state": "RUNNING"}]}
        monkeypatch.setenv(RUN, "run-1")
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kfp.url)
        remove_leftovers(str(tmp_path / "store"))
    assert sorted(one.name for one in (tmp_path / "store" / "trainjobs").iterdir()) == ["running", "unknown"]


def test_a_run_that_left_nothing_deletes_nothing(
    cluster: Cluster, tmp_path: Path, left: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    left("run-2")
    monkeypatch.setenv(RUN, "run-1")
    remove_leftovers(str(tmp_path / "store"))
    assert cluster.deleted == []


def test_a_process_of_no_run_deletes_nothing(
    cluster: Cluster, tmp_path: Path, left: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    left("run-2")
    monkeypatch.delenv(RUN)
    remove_leftovers(str(tmp_path / "store"))
    assert cluster.deleted == []


def test_jobs_that_may_not_be_listed_are_an_error_that_names_the_right(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN, "run-1")
    cluster.refused[LIST_JOBS] = (403, "forbidden")
    with pytest.raises(ClusterError, match="no right to list trainjobs") as caught:
        remove_leftovers(str(tmp_path / "store"))
    assert "infra/base/runs/roles.yaml" in caught.value.remedy
