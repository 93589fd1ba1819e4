"""A training over several nodes that ends badly or is refused: an error with its reason, and nothing left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes_stub.server import Right
from kubernetes_stub.state import warning
from kubernetes_stub.task import complete
from launched import CREATE_JOB, GET_RUNTIME, LIST_PODS, Train, failing

from advantageflow.errors import ClusterError, Preempted, SettingsError, StoreError, TrainingError
from advantageflow.training.call import publish_failure


def never(job: Any) -> None:
    """Kubernetes refuses to make its pods."""
    job.pods.clear()


DISRUPTED = {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]}


@pytest.mark.parametrize(
    ("run", "kind", "words"),
    [
        (failing(1, "Error"), TrainingError, ("BackoffLimitExceeded: node-1 failed", "first this\n    then that")),
        (failing(137, "OOMKilled"), TrainingError, ("OOMKilled, exit status 137", "training.microbatch")),
        (failing(137, "Error"), TrainingError, ("killed by SIGKILL, exit status 137", "ran out of memory")),
        (failing(143, "Error", **DISRUPTED), Preempted, ("taken away: DeletionByTaintManager",)),
        (
            lambda job: job.becomes("Failed", "DeadlineExceeded", "was active too long"),
            TrainingError,
            ("DeadlineExceeded: was active too long",),
        ),
        (never, ClusterError, ("its pods can never be created: JobCreationFailed: Job", "resources, training")),
        (
            lambda job: job.pods[0].waits("InvalidImageName", "bad name", since="2020-01-01T00:00:00Z"),
            ClusterError,
            ("cannot start: InvalidImageName: bad name", "check the image's name"),
        ),
    ],
    ids=["failed", "out of memory", "killed", "node gone", "deadline", "refused pods", "image"],
)
def test_an_end_that_is_no_good_one_is_an_error_with_its_reason(
    cluster: Any,
    train: Train,
    arguments: dict[str, Any],
    run: Callable[[Any], None],
    kind: type[Exception],
    words: tuple[str, ...],
) -> None:
    reason = 'Job.batch "j" is invalid: requests: Invalid value: "8": must be less than or equal to cpu limit of 4'
    cluster.controller = lambda job: (
        cluster.events.append(warning("JobSet", job.name, reason, 1, "JobCreationFailed")), run(job)
    )  # fmt: skip
    with pytest.raises(kind) as caught:
        train()
    for word in words:
        assert word in str(caught.value)
    assert "connection closed by peer" not in str(caught.value)
    assert not arguments["policy_out"].exists()
    train.assert_nothing_is_left()


def test_a_job_that_somebody_deletes_is_an_error(cluster: Any, train: Train) -> None:
    cluster.controller = lambda job: cluster.jobs.pop(job.name) and None
    with pytest.raises(TrainingError, match="was deleted while it ran"):
        train()
    train.assert_nothing_is_left()


def test_a_job_that_completes_without_a_result_is_an_error(cluster: Any, train: Train) -> None:
    cluster.controller = lambda job: job.becomes("Complete", "JobsCompleted", "")
    with pytest.raises(StoreError, match="not published, or not wholly") as caught:
        train()
    assert caught.value.where.endswith("/result")
    train.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("refused", "status", "message", "words"),
    [
        (CREATE_JOB, 403, 'User "u" cannot create resource "trainjobs"', "no right to create trainjobs"),
        (GET_RUNTIME, 403, "forbidden", "no right to get trainingruntimes"),
        (LIST_PODS, 403, "forbidden", "no right to list pods"),
        (CREATE_JOB, 403, "exceeded quota: gpus", "quota does not allow it: exceeded quota: gpus"),
        (CREATE_JOB, 403, "admission webhook denied: bad", "refuses to create it"),
        (CREATE_JOB, 422, "spec.trainer: Invalid value", "spec.trainer: Invalid value"),
        (CREATE_JOB, 404, "404 page not found", "Kubeflow Trainer v2"),
        (CREATE_JOB, 503, "etcd is away", "answers 503: etcd is away"),
        (GET_RUNTIME, 401, "Unauthorized", "does not know this user"),
    ],
)
def test_what_the_cluster_refuses_is_named(
    cluster: Any, train: Train, refused: Right, status: int, message: str, words: str
) -> None:
    cluster.refused[refused] = (status, message)
    with pytest.raises(ClusterError) as caught:
        train()
    assert words in str(caught.value)
    assert caught.value.remedy
    assert "team/" in caught.value.where
    train.assert_nothing_is_left()


def test_a_runtime_that_is_missing_is_named_before_anything_is_sent(cluster: Any, train: Train, tmp_path: Path) -> None:
    cluster.runtimes.clear()
    with pytest.raises(ClusterError, match="no such runtime") as caught:
        train()
    assert caught.value.where == "TrainingRuntime team/advantageflow-torch"
    assert "infra/base" in caught.value.remedy
    assert not (tmp_path / "store").exists()
    assert CREATE_JOB not in cluster.asked


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ({"limits": {"nvidia.com/gpu": "8"}}, "a node would ask for nvidia.com/gpu: 8, which the training does not"),
        ({"limits": {"cpu": "4"}}, "a node would ask for 8 of cpu, above the limit of 4, and can never be created"),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "16"}}, ""),
        ({}, ""),
    ],
)
def test_resources_of_the_runtime_do_not_come_beside_those_that_are_asked_for(
    cluster: Any, train: Train, runtime: dict[str, Any], words: str
) -> None:
    pod = {"spec": {"containers": [{"name": "node", "resources": runtime}]}}
    jobs = [{"name": "node", "template": {"spec": {"template": pod}}}]
    cluster.runtimes["advantageflow-torch"] = {"spec": {"template": {"spec": {"replicatedJobs": jobs}}}}
    cluster.controller = complete
    refused = pytest.raises(ClusterError, match=words) if words else contextlib.nullcontext()
    with refused:
        train({"resources": {"requests": {"cpu": "8"}}})
    assert (CREATE_JOB in cluster.asked) is not bool(words)


def test_what_an_earlier_attempt_s_pods_left_as_they_ended_is_not_why_this_one_fails(
    cluster: Any, train: Train, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", "run-1")
    cluster.controller = lambda job: (failures.append(f"{Path(job.arguments).parent}/failures"), complete(job))
    failures: list[str] = []
    train()
    publish_failure(failures[0], 0, Preempted("was asked to end", where="training", remedy="run it again"))
    cluster.controller = failing(1, "Error")
    with pytest.raises(TrainingError, match="first this"):
        train()


def test_no_image_and_no_cluster_are_said_so(
    cluster: Any, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="no kubeconfig"):
        train()
    monkeypatch.delenv("ADVANTAGEFLOW_TRAINING_IMAGE")
    with pytest.raises(SettingsError, match="no image"):
        train()
