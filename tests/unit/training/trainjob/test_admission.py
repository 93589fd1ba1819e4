"""A TrainJob that a queue suspends: waited for, before it has run and after, though not for ever."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes_stub.server import Cluster
from kubernetes_stub.state import Job, warning
from kubernetes_stub.task import complete
from launched import Train

from advantageflow.errors import Preempted, SettingsError, TrainingError
from advantageflow.store.published import fetch_published
from advantageflow.training.call import publish_failure

WAITS = "waits for a queue to admit it (Suspended: TrainJob is suspended)"
TAKEN_OFF = "is taken off its nodes (Suspended: TrainJob is suspended); waits for its queue to resume it"


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the task has logged by now of its job and the nodes."""
    caplog.set_level(logging.INFO)
    return lambda: [message for message in caplog.messages if message.startswith("[")]


def taken_off(cluster: Cluster, job: Job) -> None:
    """It runs, and a queue needs its nodes."""
    job.pods[0].says("step 1")
    cluster.wait_until_seen()
    call = json.loads((fetch_published(job.arguments, Path()) / "arguments.json").read_text())
    publish_failure(call["failures"], 0, Preempted("was asked to end", where="training", remedy="run it again"))
    job.suspend()
    cluster.wait_until_seen()


def completes(job: Job) -> None:
    """It runs, and ends well."""
    job.pods[0].says("last step")
    complete(job)


def test_a_job_that_is_created_suspended_waits_until_it_is_admitted(
    cluster: Cluster, train: Train, arguments: dict[str, Any], told: Callable[[], list[str]]
) -> None:
    def run(job: Job) -> None:
        job.suspend()
        cluster.events = [warning("Workload", f"trainjob-{job.name}-1a2b3", "not enough GPUs", 1, "Pending")]
        cluster.wait_until_seen()
        job.resume()
        cluster.wait_until_seen()
        completes(job)

    cluster.controller = run
    train()
    name = f"[{cluster.deleted[0]}]"
    assert told() == [
        f"{name} waits: Pending: not enough GPUs",
        f"{name} {WAITS}",
        f"{name} is admitted",
        "[node-0] last step",
    ]
    assert (arguments["policy_out"] / "state.json").exists()


def test_a_job_that_is_taken_off_its_nodes_is_waited_for_and_goes_on(
    cluster: Cluster, train: Train, arguments: dict[str, Any], told: Callable[[], list[str]]
) -> None:
    def run(job: Job) -> None:
        for _ in range(2):
            taken_off(cluster, job)
            job.resume()
            cluster.wait_until_seen()
        completes(job)

    cluster.controller = run
    train()
    name = f"[{cluster.deleted[0]}]"
    rest = ", and goes on from its last checkpoint, where training.checkpoint_every keeps some"
    once = ["[node-0] step 1", f"{name} {TAKEN_OFF}{rest}", f"{name} is admitted"]
    assert told() == [*once, *once, "[node-0] last step"]
    assert (arguments["policy_out"] / "state.json").exists()
    assert len(cluster.deleted) == 1


def test_why_a_resumed_job_fails_is_not_that_it_was_once_taken_off_its_nodes(cluster: Cluster, train: Train) -> None:
    def run(job: Job) -> None:
        taken_off(cluster, job)
        job.resume()
        cluster.wait_until_seen()
        job.pods[1].says("memory is full")
        job.pods[1].ends(1)
        job.becomes("Failed", "BackoffLimitExceeded", "")

    cluster.controller = run
    with pytest.raises(TrainingError, match="memory is full"):
        train()


def test_a_job_that_fails_while_it_is_suspended_has_failed(cluster: Cluster, train: Train) -> None:
    def run(job: Job) -> None:
        job.suspend()
        job.becomes("Failed", "DeadlineExceeded", "")

    cluster.controller = run
    with pytest.raises(TrainingError, match="failed: DeadlineExceeded"):
        train()


@pytest.mark.parametrize("ran", [False, True], ids=["before it ran", "after it ran"])
def test_the_deadline_ends_the_waiting_too(
    cluster: Cluster, train: Train, told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, ran: bool
) -> None:
    def run(job: Job) -> None:
        if ran:
            taken_off(cluster, job)
        else:
            job.suspend()
            cluster.wait_until_seen()
        monkeypatch.setattr("advantageflow.training.trainjob.follow.time", LaterClock())

    cluster.controller = run
    with pytest.raises(TrainingError, match="has not ended in 168 hours, and is suspended: Suspended: Tra") as caught:
        train()
    assert "see why its queue does not admit it" in caught.value.remedy
    assert any((TAKEN_OFF if ran else WAITS) in message for message in told())
    assert cluster.jobs == {}


class LaterClock:
    """The time in eight days."""

    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return time.monotonic() + 8 * 86_400


def test_the_task_s_own_timeout_is_the_deadline_of_a_job_that_runs(
    cluster: Cluster, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_TRAINING_TIMEOUT", "1")
    deadlines = []

    def run(job: Job) -> None:
        deadlines.append(job.body["spec"]["activeDeadlineSeconds"])
        job.pods[0].says("and on, and on")

    cluster.controller = run
    with pytest.raises(TrainingError, match=r"has not ended in 0\.000277778 hours\n"):
        train()
    assert deadlines == [1]
    assert cluster.jobs == {}


@pytest.mark.parametrize("timeout", ["soon", "0", "-5", "1.5"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(
    cluster: Cluster, train: Train, monkeypatch: pytest.MonkeyPatch, timeout: str
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_TRAINING_TIMEOUT", timeout)
    with pytest.raises(SettingsError, match="not a number of seconds") as caught:
        train()
    assert caught.value.where == "ADVANTAGEFLOW_TRAINING_TIMEOUT"
    assert cluster.asked == []
