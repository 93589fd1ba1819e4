"""`advantageflow submit` and `runs follow`: a run is started and followed, and its end is the exit status."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp_stub.server import Fault, KfpStub, said

from advantageflow_pipelines.client import follow

Command = Callable[..., tuple[int, str, str]]
TINY = ("submit", "--preset", "tiny", "--rounds", "1", "--image", "registry.example/stage:1")


@pytest.fixture
def started(server: KfpStub) -> str:
    """The id of a run that somebody started."""
    experiment = server.state.create_experiment({"display_name": "e"})["experiment_id"]
    run = {"display_name": "r", "experiment_id": experiment, "pipeline_spec": {}}
    return str(server.state.create_run(run)["run_id"])


def test_a_run_is_started_with_all_that_was_chosen(advantageflow: Command, server: KfpStub) -> None:
    status, out, _ = advantageflow(
        *TINY, "--host", server.url, "--seed", "7", "--set", "rollout.group_size=4", "--experiment", "nightly",
        "--run-name", "try 1", "--service-account", "mine", "--image", "registry.example/stage:2", "--resources", "cpu",
    )  # fmt: skip
    assert status == 0
    (run,) = server.state.runs.values()
    assert run["display_name"] == "try 1"
    assert run["service_account"] == "mine"
    for words in ("preset tiny: 1 round of", "reward shapes", "seed 7", "in MLflow: experiment advantageflow"):
        assert words in run["description"]
    assert server.state.experiments[run["experiment_id"]]["display_name"] == "nightly"
    parameters = run["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    assert parameters["seed"]["defaultValue"] == 7
    assert '"group_size":4' in parameters["rollout_settings"]["defaultValue"]
    executors = run["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"].values()
    assert {one["container"]["image"] for one in executors} == {"registry.example/stage:2"}
    assert run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]
    assert run["run_id"] in out
    assert f"{server.url}/#/runs/details/{run['run_id']}" in out


def test_an_experiment_is_found_beyond_the_first_page(advantageflow: Command, server: KfpStub) -> None:
    for number in range(12):
        server.state.create_experiment({"display_name": f"e{number}"})
    assert advantageflow(*TINY, "--host", server.url, "-e", "e11")[0] == 0
    assert len(server.state.experiments) == 12


def test_an_experiment_that_somebody_makes_at_the_same_time_is_used(advantageflow: Command, server: KfpStub) -> None:
    make = server.state.create_experiment

    def somebody_is_faster(body: dict[str, Any]) -> dict[str, Any]:
        make(body)
        return make(body)

    server.state.create_experiment = somebody_is_faster  # type: ignore[method-assign]
    assert advantageflow(*TINY, "--host", server.url)[0] == 0
    assert len(server.state.runs) == 1


def test_host_and_pages_come_from_kubeflows_own_variables(
    advantageflow: Command, server: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://pages.example/kfp/")
    status, out, _ = advantageflow(*TINY)
    assert status == 0
    assert "https://pages.example/kfp/#/runs/details/run-" in out


def test_nothing_is_written_into_the_home_folder(advantageflow: Command, server: KfpStub) -> None:
    advantageflow(*TINY, "--host", server.url)
    assert not Path.home().exists()


def test_without_cache_no_task_at_any_depth_is_cached(advantageflow: Command, server: KfpStub) -> None:
    advantageflow(*TINY, "--host", server.url)
    advantageflow(*TINY, "--host", server.url, "--no-cache")
    assert [one["display_name"] for one in server.state.experiments.values()] == ["advantageflow"], "used again"
    assert [run["service_account"] for run in server.state.runs.values()] == ["advantageflow-runner"] * 2
    cached, uncached = (repr(run["pipeline_spec"]) for run in server.state.runs.values())
    assert cached.count("enableCache") > 5
    assert uncached.count("cachingOptions") >= cached.count("cachingOptions")
    assert "enableCache" not in uncached


def test_a_server_with_several_users_is_told_the_namespace_everywhere(
    advantageflow: Command, shared_server: KfpStub
) -> None:
    status, _, err = advantageflow(*TINY, "--host", shared_server.url)
    assert status == 2
    assert "give --namespace" in err
    status, _, _ = advantageflow(*TINY, "--host", shared_server.url, "--namespace", "team-a")
    assert status == 0
    assert [one["namespace"] for one in shared_server.state.experiments.values()] == ["team-a"]
    lists = shared_server.bodies("experiment_service_list_experiments")
    assert {asked["namespace"] for asked in lists} == {"team-a"}


def test_a_namespace_is_refused_where_there_are_none(advantageflow: Command, server: KfpStub) -> None:
    status, _, err = advantageflow(*TINY, "--host", server.url, "-n", "team-a")
    assert status == 2
    assert "leave --namespace away" in err
    assert not server.state.runs


@pytest.mark.parametrize(
    ("story", "words"),
    [
        ({"state": "FAILED", "error": {"code": 3, "message": "no such image"}}, "failed: no such image"),
        ({"state": "FAILED", "state_history": [{"state": "FAILED", "error": {"message": "evicted"}}]}, "evicted"),
        ({"state": "SKIPPED"}, "was skipped"),
    ],
)
def test_every_other_end_is_a_failure_too(
    advantageflow: Command, server: KfpStub, started: str, story: dict[str, Any], words: str
) -> None:
    server.state.story = [story]
    status, _, err = advantageflow("runs", "follow", started, "--host", server.url)
    assert status == 1
    assert words in err


def test_following_waits_for_a_server_that_is_away(advantageflow: Command, server: KfpStub, started: str) -> None:
    server.state.story = [{"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    server.faults["run_service_get_run"] = [said(500, "the database is restarted", code=13)] * 2
    status, out, _ = advantageflow("runs", "follow", started, "--host", server.url)
    assert status == 0
    assert "the database is restarted; the run goes on, trying again" in " ".join(out.split())


def test_following_gives_up_on_a_server_that_stays_away(
    advantageflow: Command, server: KfpStub, started: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.0)
    server.faults["run_service_get_run"] = [said(500, "down", code=13)] * 9
    status, _, err = advantageflow("runs", "follow", started, "--host", server.url)
    assert status == 2
    assert "the run goes on; follow it with: advantageflow runs follow run-" in err


def test_a_session_that_ends_while_following_is_told_and_the_run_can_be_followed_again(
    advantageflow: Command, server: KfpStub
) -> None:
    server.state.story = [{"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    server.faults["run_service_get_run"] = [Fault(200, b"<html>Sign in</html>", "text/html; charset=utf-8")]
    status, _, err = advantageflow(*TINY, "--host", server.url, "--wait")
    assert status == 2
    assert "a web page came" in err
    again = re.search(r"runs follow (\S+) --host (\S+)", err)
    assert again is not None
    assert advantageflow("runs", "follow", again[1], "--host", again[2])[0] == 0


def test_ctrl_c_stops_following_and_leaves_the_run_alone(server: KfpStub) -> None:
    server.state.story = [{"state": "RUNNING"}]
    command = [sys.executable, "-m", "advantageflow_pipelines", *TINY, "--host", server.url, "--wait"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not server.bodies("run_service_get_run"):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 130
    assert "the run goes on; follow it with: advantageflow runs follow run-" in out
    assert not server.bodies("run_service_terminate_run")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--set", "prompts.source=mine.jsonl"), ("prompts.source", "s3://")),
        (("--image", "registry.example/stage:latest"), ("give a tag that is never moved, or the digest",)),
    ],
)
def test_what_a_cluster_cannot_use_is_refused_before_the_server_is_asked(
    advantageflow: Command, server: KfpStub, option: tuple[str, str], words: tuple[str, ...]
) -> None:
    Path("mine.jsonl").touch()
    status, _, err = advantageflow(*TINY, "--host", server.url, *option)
    assert status == 2
    assert all(word in err for word in words)
    assert not server.seen


def test_a_path_in_the_images_is_taken_and_said(advantageflow: Command, server: KfpStub) -> None:
    status, out, _ = advantageflow(*TINY, "--host", server.url, "--set", "reward.golden=/in/the/image/golden.json")
    assert status == 0
    assert "taken to be in the images: reward.golden: /in/the/image/golden.json" in out
