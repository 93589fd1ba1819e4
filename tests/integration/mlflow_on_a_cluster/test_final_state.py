"""A pipeline run ends in MLflow as it ended in Kubeflow, whatever ended it; a live server's answers are replayed."""

from __future__ import annotations

from pathlib import Path

import pytest
from kfp_stub.server import KfpStub
from mlflow import MlflowClient
from tracked import LAST, children_of, fail_task, kill_task, open_run, parent_of, run_task

from advantageflow.tracking.continuing import continue_run
from advantageflow.tracking.kubeflow import ask_state
from advantageflow.tracking.lifecycle import close_pipeline_run, heal
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import make_connection
from advantageflow_pipelines.client.runs import get_run

RECORDINGS = Path(__file__).parents[2] / "data" / "kfp-live"


def replay(kubeflow: KfpStub, recording: str, pipeline: str, *, at: str) -> None:
    """Have the pipeline run be a recorded one, at the moment that it came to a state."""
    kubeflow.state.replay(RECORDINGS / f"{recording}.jsonl.gz", pipeline)
    story = kubeflow.state.stories[pipeline]
    kubeflow.state.stories[pipeline] = story[[chapter["state"] for chapter in story].index(at) :]


def ended(client: MlflowClient, pipeline: str) -> tuple[str, str, str | None]:
    """Status of a pipeline's run, the state by which it was closed, and the error."""
    parent = parent_of(client, pipeline)
    return parent.info.status, parent.data.tags["kfp.final_state"], parent.data.tags.get("error")


def test_success_is_finished(client: MlflowClient, pipeline: str, tmp_path: Path) -> None:
    open_run(page=tmp_path / "page.md")
    run_task(1)
    run_task(2)
    close_pipeline_run("COMPLETE", None)
    assert ended(client, pipeline) == ("FINISHED", "COMPLETE", None)
    parent = parent_of(client, pipeline)
    assert "advantageflow.from_cache" not in parent.data.tags
    assert parent.data.metrics["seconds/kubeflow"] >= 0
    assert f"/runs/{parent.info.run_id}?workflowType=machine_learning)" in (tmp_path / "page.md").read_text()


def test_success_of_which_a_stage_says_that_it_failed_is_a_failure(client: MlflowClient, pipeline: str) -> None:
    open_run()
    fail_task(1)
    close_pipeline_run("COMPLETE", None)
    assert ended(client, pipeline) == ("FAILED", "COMPLETE", "round 1 / training: ZeroDivisionError: a bug")


def test_an_attempt_that_failed_does_not_count_where_a_later_one_succeeded(client: MlflowClient, pipeline: str) -> None:
    open_run()
    fail_task(1)
    run_task(1)
    close_pipeline_run("COMPLETE", None)
    assert ended(client, pipeline)[0] == "FINISHED"


def test_a_stage_s_own_error_is_a_failure_with_the_stage_s_words(
    client: MlflowClient, pipeline: str, kubeflow: KfpStub
) -> None:
    replay(kubeflow, "stage-error", pipeline, at="RUNNING")
    open_run()
    fail_task(1)
    close_pipeline_run("FAILED", "Task exit-handler-1 failed.")
    assert ended(client, pipeline) == ("FAILED", "FAILED", "round 1 / training: ZeroDivisionError: a bug")


def test_a_stage_that_is_killed_fails_the_run_and_is_named(
    client: MlflowClient, pipeline: str, kubeflow: KfpStub
) -> None:
    """Kubeflow tells the closing task RUNNING."""
    replay(kubeflow, "sigterm-as-shipped", pipeline, at="RUNNING")
    open_run()
    run_task(1)
    kill_task(1)
    close_pipeline_run("RUNNING", None)
    status, state, error = ended(client, pipeline)
    assert (status, state) == ("FAILED", "FAILED")
    assert error is not None
    assert error.startswith("round 1 / rollout 1: its container was ended from outside")
    children = children_of(client, parent_of(client, pipeline))
    assert children == {"round 1 / training": "FINISHED", "round 1 / rollout 1": "KILLED"}


def test_a_stage_that_is_lost_as_it_ends_fails_the_run_though_all_that_is_recorded_went_well(
    client: MlflowClient, pipeline: str, kubeflow: KfpStub
) -> None:
    replay(kubeflow, "api-server-away", pipeline, at="RUNNING")
    open_run()
    run_task(1)
    close_pipeline_run("RUNNING", None)
    status, _, error = ended(client, pipeline)
    assert status == "FAILED"
    assert "API server was away" in str(error)


def test_a_cancelled_run_is_killed_where_kubeflow_runs_the_closing_task(
    client: MlflowClient, pipeline: str, kubeflow: KfpStub
) -> None:
    """It is told RUNNING there too; the API server says CANCELING."""
    replay(kubeflow, "cancelled-without-defaults", pipeline, at="CANCELING")
    open_run()
    close_pipeline_run("RUNNING", None)
    assert ended(client, pipeline) == ("KILLED", "CANCELED", None)


@pytest.mark.parametrize(
    ("recording", "status", "state"),
    [("cancelled-as-shipped", "KILLED", "CANCELED"), ("too-large", "FAILED", "FAILED")],
)
def test_a_run_without_a_closing_task_is_closed_by_the_next_run_s_opening_task(
    client: MlflowClient,
    pipeline: str,
    kubeflow: KfpStub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recording: str,
    status: str,
    state: str,
) -> None:
    open_run()
    replay(kubeflow, recording, pipeline, at="FAILED")
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", f"{pipeline}-next")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"{pipeline}-next")
    capsys.readouterr()
    open_run()
    assert f"was RUNNING and is {status} now, as Kubeflow says {state}" in capsys.readouterr().err
    assert ended(client, pipeline)[:2] == (status, state)
    assert parent_of(client, f"{pipeline}-next").info.status == "RUNNING"


def test_a_closing_task_that_cannot_ask_leaves_the_doubt_to_the_next_one(
    client: MlflowClient, pipeline: str, kubeflow: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run()
    replay(kubeflow, "cancelled-as-shipped", pipeline, at="FAILED")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    close_pipeline_run("RUNNING", None)
    assert ended(client, pipeline)[:2] == ("FAILED", "RUNNING")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kubeflow.url)
    [healed] = heal(client, {}, lambda one: ask_state(one) if one == pipeline else None)
    assert "was FAILED and is KILLED now, as Kubeflow says CANCELED" in healed
    assert ended(client, pipeline) == ("KILLED", "CANCELED", None)


def test_a_failed_run_that_kubeflow_retries_is_open_until_its_last_task_ends(
    client: MlflowClient, pipeline: str
) -> None:
    """Kubeflow does not run the closing task a second time."""
    open_run(LAST)
    kill_task(0)
    fail_task(1)
    close_pipeline_run("FAILED", None)
    assert ended(client, pipeline)[0] == "FAILED"
    run_task(1)
    assert parent_of(client, pipeline).info.status == "RUNNING"
    run_task(2)
    parent = parent_of(client, pipeline)
    assert parent.info.status == "RUNNING", "the rollout that was killed is still to come"
    assert heal(client, {pipeline: "RUNNING"}, lambda _: None) == []
    [healed] = heal(client, {pipeline: "SUCCEEDED"}, lambda _: None)
    assert "is FINISHED now" in healed
    assert ended(client, pipeline) == ("FINISHED", "SUCCEEDED", None)


def test_the_last_task_of_a_retry_closes_the_run_for_good(client: MlflowClient, pipeline: str) -> None:
    open_run(LAST)
    fail_task(1)
    close_pipeline_run("FAILED", None)
    fail_task(1)
    assert ended(client, pipeline)[:2] == ("FAILED", "FAILED"), "failed again"
    run_task(1)
    assert parent_of(client, pipeline).info.status == "RUNNING"
    run_task(2)
    assert ended(client, pipeline) == ("FINISHED", "SUCCEEDED", None)


def test_segments_of_a_run_are_one_run_that_ends_with_the_last(
    client: MlflowClient, pipeline: str, kubeflow: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = kubeflow.state.create_experiment({"display_name": "e"})["experiment_id"]
    kubeflow.state.story = [{"state": "RUNNING"}]
    spec = {"root": {}, "components": {"segment-2-2": {}}}
    run = {"run_id": pipeline, "display_name": "r", "experiment_id": experiment, "pipeline_spec": spec}
    kubeflow.state.runs[pipeline] = {**run, "created_at": "2026-01-01T00:00:00Z"}
    open_run()
    run_task(1)
    continue_run("2-2", {"policy": "s3://bucket/policy"})
    close_pipeline_run("COMPLETE", None, goes_on=True)
    parent, (_, second) = parent_of(client, pipeline), kubeflow.state.runs
    assert (parent.info.status, parent.data.tags["kfp.pipeline_run_id"]) == ("RUNNING", second)
    assert "is FINISHED now" in heal(client, {second: "SUCCEEDED"}, lambda _: None)[0]
    client.set_tag(parent.info.run_id, "kfp.pipeline_run_id", pipeline)  # as if MLflow had been away
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", second)
    open_run(first_run=pipeline)
    parent = parent_of(client, pipeline)
    assert (parent.info.status, parent.data.tags["kfp.pipeline_run_id"]) == ("RUNNING", second)
    run_task(2)
    assert parent_of(client, pipeline).info.status == "RUNNING"
    close_pipeline_run("COMPLETE", None, pipeline)
    assert ended(client, pipeline) == ("FINISHED", "COMPLETE", None)
    assert set(children_of(client, parent)) == {"round 1 / training", "round 2 / training"}


def test_a_segment_that_had_no_reason_to_start_the_next_ends_the_run(client: MlflowClient, pipeline: str) -> None:
    open_run()
    close_pipeline_run("COMPLETE", None, goes_on=True)
    assert ended(client, pipeline)[0] == "FINISHED"


def test_a_run_wholly_taken_from_the_cache_has_a_run_in_mlflow_that_says_so(
    client: MlflowClient, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_KFP_URL", "https://kubeflow.example/pipeline")
    open_run()
    close_pipeline_run("COMPLETE", None)
    parent = parent_of(client, pipeline)
    assert ended(client, pipeline) == ("FINISHED", "COMPLETE", None)
    assert parent.data.tags["advantageflow.from_cache"] == "all"
    note, link = parent.data.tags["mlflow.note.content"].split("\n\n")
    assert "nothing was computed" in note
    assert link == f"[Pipeline run {pipeline} in Kubeflow](https://kubeflow.example/pipeline/#/runs/details/{pipeline})"
    assert parent.data.params == {"training.steps": "6", "reward.column": "soft", "seed": "7"}


def test_the_closing_task_opens_the_run_where_mlflow_was_away_as_the_pipeline_began(
    client: MlflowClient, pipeline: str
) -> None:
    close_pipeline_run("FAILED", None)
    assert ended(client, pipeline)[0] == "FAILED"


def test_healing_asks_no_more_than_it_may_and_leaves_what_nobody_knows(
    client: MlflowClient, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", f"{pipeline}-{number}")
        open_run()
    monkeypatch.setattr("advantageflow.tracking.lifecycle._QUESTIONS", 2)
    asked: list[str] = []
    assert heal(client, {}, lambda one: asked.append(one)) == []
    assert asked == [f"{pipeline}-2", f"{pipeline}-1"]
    monkeypatch.setattr("advantageflow.tracking.lifecycle._SECONDS", -1.0)
    assert heal(client, {}, lambda one: asked.append(one)) == []
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("recording", "state"),
    [
        ("all-from-cache", "SUCCEEDED"),
        ("api-server-away", "FAILED"),
        ("cancelled-as-shipped", "CANCELED"),
        ("cancelled-without-defaults", "CANCELED"),
        ("killed-as-shipped", "FAILED"),
        ("stage-error", "FAILED"),
        ("too-large", "FAILED"),
    ],
)
def test_tasks_and_commands_read_the_same_state_off_a_server_s_answers(
    kubeflow: KfpStub, recording: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = kubeflow.state.replay(RECORDINGS / f"{recording}.jsonl.gz")
    kubeflow.state.stories[run_id] = kubeflow.state.stories[run_id][-1:]
    token = tmp_path / "token"
    token.write_text("secret\n")
    kubeflow.token = "secret"
    assert ask_state(run_id) is None
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    assert ask_state(run_id) == state
    api = Api(make_connection(kubeflow.url, token_file=token))
    assert get_run(api, run_id).state == state
