"""A training over several nodes against a Kubernetes API server: followed to its end, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kubernetes_stub.server import Right
from kubernetes_stub.state import warning
from kubernetes_stub.task import complete, step_event
from launched import CREATE_JOB, DELETE_JOB, GET_JOB, GET_RUNTIME, LIST_PODS, READ_LOG, SETTINGS, Train, failing

from advantageflow.errors import TrainingError
from advantageflow.settings import ModelSettings, RewardSettings, StoreSettings
from advantageflow.store.published import fetch_published, is_published
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.training.call import SAID_EVENT


def test_the_nodes_inputs_lead_to_a_policy_here(
    cluster: Any, train: Train, tmp_path: Path, arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seen: dict[str, Any] = {}

    def run(job: Any) -> None:
        inputs = fetch_published(job.arguments, tmp_path)
        told = json.loads((inputs / "arguments.json").read_text())["arguments"]
        seen["files"] = [(inputs / place / "file").read_text() for place in [told["prompts"], *told["latents"]]]
        job.pods[0].waits("ContainerCreating", "")
        job.pods[1].waits("ErrImagePull", "no such image")
        time.sleep(0.1)
        job.pods[0].says("step 1", "step 2")
        job.pods[1].says("hello")
        complete(job)

    cluster.controller = run
    with journal_in_use(Journal("task", tmp_path / "journal.jsonl")):
        train()
    assert seen["files"] == [str(arguments["prompts"]), *map(str, arguments["latents"])]
    assert (arguments["policy_out"] / "state.json").read_text() == '{"round": 2}'
    assert json.loads((tmp_path / "journal.jsonl").read_text())["values"] == {"training/loss": 1.0}
    for line in ("[node-0] step 1", "[node-0] step 2", "[node-1] hello", "[node-1] waits: ErrImagePull: no such image"):
        assert caplog.messages.count(line) == 1
    assert len(cluster.deleted) == 1
    train.assert_nothing_is_left()


def test_a_log_that_breaks_off_goes_on_where_it_was(
    cluster: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cluster.log_cuts = [3, 1]

    def run(job: Any) -> None:
        for number in range(6):
            job.pods[0].says(f"line {number}")
            time.sleep(0.05)
        complete(job)

    cluster.controller = run
    train()
    assert [line for line in caplog.messages if "line" in line] == [f"[node-0] line {k}" for k in range(6)]


def test_last_words_are_read_though_the_api_is_away_as_they_come(
    cluster: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def run(job: Any) -> None:
        cluster.refused[READ_LOG] = [(500, "the node does not answer")] * 3
        job.pods[0].says("last words")
        complete(job)

    cluster.controller = run
    train()
    assert [line for line in caplog.messages if "words" in line] == ["[node-0] last words"]


def test_a_job_without_pods_tells_why_once(cluster: Any, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def run(job: Any) -> None:
        job.pods.clear()
        owner = f"{job.name}-node-0"
        cluster.events = [
            warning("Job", owner, "an earlier one", 1),
            warning("Job", owner, "of an attempt before this one", -1),
            warning("Pod", f"{owner}-0-x1y2z", "of a pod that is gone", 9),
            warning("Job", "other", "of another job", 9),
        ]
        for minute, pod in enumerate(("k2p4x", "w9q0z"), start=2):
            cluster.events.append(warning("Job", owner, f'pods "{owner}-0-{pod}" is forbidden: exceeded quota', minute))
            cluster.wait_until_seen()
        complete(job)

    cluster.controller = run
    train()
    [waits] = [message for message in caplog.messages if "waits" in message]
    assert waits.endswith('-node-0-0-k2p4x" is forbidden: exceeded quota')


def test_logs_that_may_not_be_read_do_not_end_a_training(
    cluster: Any, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.refused[READ_LOG] = (403, "forbidden")

    def run(job: Any) -> None:
        job.pods[0].says("unheard")
        time.sleep(0.2)
        complete(job)

    cluster.controller = run
    train()
    assert "no right to get pods/log" in caplog.text


@pytest.mark.parametrize("right", [GET_RUNTIME, CREATE_JOB, GET_JOB, LIST_PODS, DELETE_JOB], ids=lambda one: one[1:])
def test_an_api_that_is_away_for_a_moment_is_waited_for(cluster: Any, train: Train, right: Right) -> None:
    cluster.controller = complete
    cluster.refused[right] = [(500, "failed calling webhook: connection refused")] * 2
    train()
    assert cluster.refused[right] == []
    assert len(cluster.deleted) == 1
    train.assert_nothing_is_left()


def test_a_job_that_was_created_though_the_answer_was_lost_is_followed(
    cluster: Any, train: Train, arguments: dict[str, Any]
) -> None:
    cluster.controller = complete
    cluster.lost = [CREATE_JOB]
    train()
    assert cluster.asked.count(CREATE_JOB) == 2
    assert (arguments["policy_out"] / "state.json").exists()


@pytest.mark.parametrize("ends", [True, False], ids=["trained", "killed"])
def test_steps_are_recorded_as_they_come_and_once(
    cluster: Any, train: Train, tmp_path: Path, ends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def steps() -> list[int]:
        journal = tmp_path / "journal.jsonl"
        return [json.loads(line)["step"] for line in journal.read_text().splitlines()] if journal.exists() else []

    def run(job: Any) -> None:
        again = json.dumps({**json.loads(step_event(2)), "time": 9.0})  # by a node that went on from a checkpoint
        job.pods[0].says(*(f"{SAID_EVENT}{one}" for one in (step_event(1), step_event(2), again, "{")), "a line")
        deadline = time.monotonic() + 30
        while steps() != [1, 2] and time.monotonic() < deadline:
            time.sleep(0.01)
        if ends:
            complete(job, step_event(1), step_event(2), again, step_event(3))
        else:
            failing(137, "Error")(job)

    cluster.controller = run
    with (
        journal_in_use(Journal("task", tmp_path / "journal.jsonl")),
        contextlib.nullcontext() if ends else pytest.raises(TrainingError),
    ):
        train()
    assert steps() == ([1, 2, 3] if ends else [1, 2])
    assert next(line for line in caplog.messages if "[node-0]" in line) == "[node-0] a line"


def test_an_earlier_attempt_s_job_is_ended_and_replaced(
    cluster: Any, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", "run-1")
    bodies: list[dict[str, Any]] = []

    def run(job: Any) -> None:
        bodies.append(job.body)
        complete(job)

    cluster.controller = run
    train()
    left = cluster.add(bodies[0])  # as a task leaves it that is killed outright
    left.pods[0].says("training on, for nobody")
    train(policy_out=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "state.json").exists()
    assert bodies[0]["metadata"]["name"] == bodies[1]["metadata"]["name"]
    assert cluster.asked.count(CREATE_JOB) == 2
    assert cluster.deleted == [left.name] * 3
    train.assert_nothing_is_left()


TASK = """
import json, sys
from advantageflow.runtime import run_stage_task
from advantageflow import kubernetes_api
kubernetes_api.POLL = 0.05
run_stage_task("training", **json.loads(sys.argv[1]))
"""


def test_sigterm_removes_the_job_and_the_files_before_the_task_ends(
    cluster: Any, train: Train, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    cluster.controller = lambda job: job.pods[0].says("training")
    told = {name: json.loads(json.dumps(value, default=str)) for name, value in arguments.items()}
    told |= {
        "settings": SETTINGS.model_dump_json(),
        "reward": RewardSettings().model_dump_json(),
        "model": ModelSettings().model_dump_json(),
        "store": StoreSettings(url=str(tmp_path / "store")).model_dump_json(),
        "task_config": {"node_selector": {"zone": "a"}},
    }
    task = subprocess.Popen([sys.executable, "-c", TASK, json.dumps(told)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while READ_LOG not in cluster.asked and time.monotonic() < deadline and task.poll() is None:
        time.sleep(0.05)
    (job,) = cluster.jobs.values()
    assert is_published(job.arguments)
    task.send_signal(signal.SIGTERM)
    _, said = task.communicate(timeout=30)
    assert "was asked to end, and removes its TrainJob" in said
    assert "Traceback" not in said
    assert task.returncode == 75
    assert cluster.deleted == [job.name]
    train.assert_nothing_is_left()


def test_the_job_is_the_pod_s_that_waits_for_it(cluster: Any, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "round-01-training")
    monkeypatch.setenv("KFP_POD_UID", "1-2-3")
    bodies = []

    def run(job: Any) -> None:
        bodies.append(job.body)
        complete(job)

    cluster.controller = run
    train()
    (body,) = bodies
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "round-01-training", "uid": "1-2-3"}
    assert body["metadata"]["ownerReferences"] == [owner]
