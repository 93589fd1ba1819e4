"""What `runs` and `runs follow` say of runs that were cancelled or cached, as a live server answered."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from kfp_stub.server import KfpStub

from advantageflow.tracking.lifecycle import open_pipeline_run
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.pipeline_run import find_pipeline_run

Command = Callable[..., tuple[int, str, str]]
Replay = Callable[[str], str]


def test_a_cancelled_run_is_cancelled_and_not_a_stage_that_failed(
    advantageflow: Command, server: KfpStub, replayed: Replay
) -> None:
    run_id = replayed("cancelled-as-shipped")
    status, out, err = advantageflow("runs", "follow", run_id, "--host", server.url)
    assert status == 1
    assert f"run {run_id} was cancelled" in err
    assert re.search("round 1 rollout, shard [12]: cancelled", out)
    assert " failed" not in out + err
    assert "cancelled" in advantageflow("runs", "--host", server.url)[1]


def test_a_run_that_is_being_cancelled_is_not_over(advantageflow: Command, server: KfpStub) -> None:
    experiment = server.state.create_experiment({"display_name": "e"})["experiment_id"]
    run = server.state.create_run({"display_name": "r", "experiment_id": experiment, "pipeline_spec": {}})
    server.state.terminate_run(run["run_id"])
    server.state.get_run(run["run_id"])
    assert "being cancelled" in advantageflow("runs", "--host", server.url)[1]
    status, _, err = advantageflow("runs", "follow", run["run_id"], "--host", server.url)
    assert (status, "was cancelled" in err) == (1, True)


@pytest.mark.parametrize(("recording", "cached"), [("all-from-cache", True), ("succeeded-list-frozen-final", False)])
def test_a_run_wholly_taken_from_the_cache_says_so(
    advantageflow: Command, server: KfpStub, replayed: Replay, recording: str, cached: bool
) -> None:
    status, out, _ = advantageflow("runs", "follow", replayed(recording), "--host", server.url)
    assert status == 0
    assert ("taken from the cache" in out) == cached
    listed = advantageflow("runs", "--host", server.url)[1]
    assert ("succeeded (from the cache)" in listed) == cached


def test_listing_and_following_set_mlflow_right_and_say_so(
    advantageflow: Command, server: KfpStub, replayed: Replay, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    runs = {name: replayed(name) for name in ("cancelled-without-defaults", "killed-as-shipped")}
    for run_id in runs.values():
        monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", run_id)
        open_pipeline_run({"seed": 0}, "round 1 / evaluation")
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT")

    _, out, err = advantageflow("runs", "follow", runs["killed-as-shipped"], "--host", server.url)
    assert "was RUNNING and is FAILED now" in out
    assert "round 1 rollout, shard 2 failed: a task failed of which nothing is recorded" in err
    cancelled = runs["cancelled-without-defaults"]
    server.state.stories[cancelled] = server.state.stories[cancelled][-1:]
    server.state.get_run(cancelled)
    out = advantageflow("runs", "--host", server.url)[1]
    assert re.findall(r"was (\w+) and is (\w+) now, as Kubeflow says (\w+)", out) == [("RUNNING", "KILLED", "CANCELED")]
    assert "now, as" not in advantageflow("runs", "--host", server.url)[1]

    client = open_client(store)
    statuses = {name: found.info.status for name, id_ in runs.items() if (found := find_pipeline_run(client, id_))}
    assert statuses == {"cancelled-without-defaults": "KILLED", "killed-as-shipped": "FAILED"}


def test_an_mlflow_that_is_away_costs_the_list_a_warning(
    advantageflow: Command, server: KfpStub, replayed: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    replayed("stage-error")
    status, out, _ = advantageflow("runs", "--host", server.url)
    assert status == 0
    assert "usererr" in out
    assert "warning: runs may be open in MLflow that are over" in out
