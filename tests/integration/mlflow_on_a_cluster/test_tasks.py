"""Stage tasks that publish their own journals to an MLflow server, as they do where no process sees all of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gate import Gate
from mlflow import MlflowClient
from tracked import children_of, open_run, parent_of, run_task, runs_of

from advantageflow.tracking import task_publisher
from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.lifecycle import close_pipeline_run
from advantageflow.tracking.pipeline_run import task_runs


def test_how_far_a_long_task_is_stands_at_its_run_while_it_goes(
    client: MlflowClient, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advantageflow.tracking.recorder._PROGRESS_SECONDS", 0.0)
    open_run()
    with stage_journal("training", 1) as journal:
        journal.progress(9, 48, "samples")
    [task] = task_runs(client, parent_of(client, pipeline))
    assert task.data.tags["advantageflow.progress"] == "9/48 samples"


@pytest.mark.fault
def test_a_store_that_accepts_and_never_answers_does_not_hold_a_task(
    pipeline: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(task_publisher, "SECONDS_AT_THE_END", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        run_task(1)
        assert time.monotonic() - began < 10
    assert "MLflow does not have all of this task" in capsys.readouterr().err


def test_tasks_of_one_pipeline_run_share_a_parent(client: MlflowClient, pipeline: str) -> None:
    open_run()
    run_task(1, 0.5)
    run_task(2, 0.25)
    parent = parent_of(client, pipeline)
    history = client.get_metric_history(parent.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.25)]
    assert children_of(client, parent) == {"round 1 / training": "FINISHED", "round 2 / training": "FINISHED"}
    assert parent.info.status == "RUNNING"


def test_the_parent_says_what_it_is_and_where_it_is_in_kubeflow(
    client: MlflowClient, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_KFP_URL", "https://kubeflow.example/pipeline/")
    monkeypatch.setenv("ADVANTAGEFLOW_PRESET", "shapes")
    open_run()
    parent = parent_of(client, pipeline)
    assert parent.info.run_name == f"shapes {pipeline}"
    tags = {name: parent.data.tags[name] for name in ("preset", "seed", "kfp.pipeline_run_id", "kfp.pipeline_run_url")}
    assert tags == {
        "preset": "shapes",
        "seed": "7",
        "kfp.pipeline_run_id": pipeline,
        "kfp.pipeline_run_url": f"https://kubeflow.example/pipeline/#/runs/details/{pipeline}",
    }
    assert "version.advantageflow" in parent.data.tags
    assert parent.data.params == {"training.steps": "6", "reward.column": "soft", "seed": "7"}


def test_tasks_in_processes_of_their_own_that_start_together_share_a_parent(
    client: MlflowClient, pipeline: str
) -> None:
    open_run()
    program = (
        "import sys\nfrom advantageflow.tracking.journal import stage_journal\n"
        "with stage_journal('rollout', 1, int(sys.argv[1]), {'settings': {'steps': 6}}): pass"
    )
    tasks = [subprocess.Popen([sys.executable, "-c", program, str(shard)]) for shard in range(3)]
    assert [task.wait() for task in tasks] == [0, 0, 0]
    parent = parent_of(client, pipeline)
    assert children_of(client, parent) == {f"round 1 / rollout {shard}": "FINISHED" for shard in range(3)}
    assert len(runs_of(client, pipeline)) == 4


def test_opening_again_finds_the_run_that_is_there(client: MlflowClient, pipeline: str) -> None:
    """As where the opening task's pod is lost and made again."""
    open_run()
    first = parent_of(client, pipeline).info.run_id
    open_run()
    assert parent_of(client, pipeline).info.run_id == first


def test_a_task_is_seen_in_mlflow_while_it_works(client: MlflowClient, pipeline: str) -> None:
    open_run()
    with stage_journal("training", 1) as journal:
        journal.metrics({"train/loss": 0.5}, parent=True)
        parent = parent_of(client, pipeline).info.run_id
        deadline = time.monotonic() + 60.0
        while "train/loss" not in client.get_run(parent).data.metrics and time.monotonic() < deadline:
            time.sleep(0.1)
        assert client.get_run(parent).data.metrics["train/loss"] == 0.5
        assert children_of(client, parent_of(client, pipeline)) == {"round 1 / training": "RUNNING"}


@pytest.mark.fault
@pytest.mark.parametrize("how", ["cut request", "status 500", "wait 0.3"])
def test_a_store_that_is_down_fails_or_is_slow_is_waited_for_while_the_task_works(
    gate: Gate, client: MlflowClient, pipeline: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], how: str,
) -> None:  # fmt: skip
    open_run()
    parent = parent_of(client, pipeline).info.run_id
    monkeypatch.setattr("advantageflow.tracking.task_publisher._WAITS", (0.1,))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{gate.server_port}")
    with stage_journal("training", 1) as journal:
        for value in (0.5, 0.25):  # at its start and in the middle
            gate.fail("GET|POST", "", how, times=4)
            journal.metrics({"train/loss": value}, parent=True)
            until = time.monotonic() + 60
            while client.get_run(parent).data.metrics.get("train/loss") != value:
                assert time.monotonic() < until
                time.sleep(0.05)
        gate.fail("GET|POST", "", how, times=10**9)
    assert ("this task is not wholly in MLflow" in capsys.readouterr().err) == (how != "wait 0.3")
    ended = "FINISHED" if how == "wait 0.3" else "RUNNING"  # which the closing task ends
    assert children_of(client, parent_of(client, pipeline)) == {"round 1 / training": ended}


def test_a_task_whose_pipeline_s_run_is_missing_says_so_and_is_recorded_alone(
    client: MlflowClient, pipeline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_task(1)
    assert "the pipeline's run is not in MLflow" in capsys.readouterr().err
    [alone] = runs_of(client, pipeline)
    assert (alone.info.status, alone.data.metrics["train/loss"]) == ("FINISHED", 0.5)


def test_a_run_that_the_platform_opened_for_the_task_is_used_and_left_open(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, pipeline: str
) -> None:
    """As Kubeflow's plug-in injects it: run, address and experiment, over what the pipeline names."""
    home = client.create_experiment(f"plug-in {pipeline}")
    parent = client.create_run(home, tags={"kfp.pipeline_run_id": pipeline})
    task = client.create_run(home, tags={"mlflow.parentRunId": parent.info.run_id})
    monkeypatch.setenv("MLFLOW_RUN_ID", task.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", home)
    open_run()
    run_task(3, 0.125)
    close_pipeline_run("SUCCEEDED", None)
    assert len(client.search_runs([home])) == 2
    assert not runs_of(client, pipeline)
    recorded, whole = client.get_run(task.info.run_id), client.get_run(parent.info.run_id)
    assert (recorded.data.metrics["train/loss"], recorded.info.status) == (0.125, "RUNNING")
    assert (whole.data.metrics["train/loss"], whole.info.status) == (0.125, "RUNNING")
    assert whole.data.params["seed"] == "7"


def test_a_parent_that_the_platform_opened_without_telling_the_tasks_is_found_in_its_experiment(
    client: MlflowClient, pipeline: str
) -> None:
    home = client.create_experiment(f"elsewhere {pipeline}")
    parent = client.create_run(home, tags={"kfp.pipeline_run_id": pipeline})
    open_run()
    run_task(1)
    assert children_of(client, client.get_run(parent.info.run_id)) == {"round 1 / training": "FINISHED"}
    assert not runs_of(client, pipeline)


def test_the_page_and_the_log_of_a_task_lead_to_its_runs(
    client: MlflowClient,
    pipeline: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_MLFLOW_URL", "https://mlflow.example")
    page = tmp_path / "page"
    open_run()
    with stage_journal("evaluation", 2) as journal:
        page.write_text("<main>\n<h1>Round 2</h1>\n</main>")
        journal.page(page)
    parent = parent_of(client, pipeline)
    [task] = [run for run in runs_of(client, pipeline) if run.info.run_id != parent.info.run_id]
    links = [
        f"https://mlflow.example/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning"
        for run in (task, parent)
    ]
    said = f'<a href="{links[0]}">this task</a>, <a href="{links[1]}">the whole run</a>'
    assert page.read_text() == f"<main>\n<h1>Round 2</h1>\n<p>In MLflow: {said}</p>\n</main>"
    log = capfd.readouterr().err
    assert all(link in log for link in links)


@pytest.mark.fault
@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "sqlite:///{folder}/broken.db"])
def test_a_failing_store_costs_a_warning_not_the_task(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database at all")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(folder=tmp_path))
    open_run()
    assert "warning: this run is not in MLflow yet" in capsys.readouterr().err
    run_task(1)
    assert "warning: this task is not in MLflow" in capsys.readouterr().err
    close_pipeline_run("SUCCEEDED", None)
    assert "warning: the run stays open in MLflow" in capsys.readouterr().err


def test_a_stages_own_error_comes_through_and_fails_its_run(client: MlflowClient, pipeline: str) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"), stage_journal("reward", 1, 0):
        raise ZeroDivisionError("a bug")
    [run] = [run for run in runs_of(client, pipeline) if "kfp.pipeline_run_id" not in run.data.tags]
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ZeroDivisionError: a bug"


def test_the_pipeline_for_a_cluster_runs_in_kubeflow_s_local_runner_and_its_failure_closes_the_parent(
    client: MlflowClient, pipeline: str, tmp_path: Path
) -> None:
    """The first stage fails at once; the task that Kubeflow runs last whatever happened tells MLflow."""
    program = (
        "import sys\n"
        "from kfp import local\n"
        "from advantageflow_pipelines.configuration.choices import choose_settings\n"
        "from advantageflow_pipelines.placing.cluster import cluster_run\n"
        "from advantageflow_pipelines.commands.options import choose_images\n"
        "from advantageflow_pipelines.pipelines.building import build_pipeline\n"
        "settings = choose_settings(preset='tiny', rounds=1, assignments=sys.argv[3:])\n"
        "run = cluster_run(settings, choose_images(None, None, settings), sys.argv[1])\n"
        "local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2], raise_on_error=True)\n"
        "build_pipeline(run.settings, run.images, run.resources)()\n"
    )
    resources = tmp_path / "once.yaml"
    resources.write_text("all: {cpu: 1}")
    settings = ["prompts.source=missing.txt", f"tracking.experiment={pipeline}"]
    command = [sys.executable, "-c", program, str(resources), str(tmp_path / "artifacts"), *settings]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert "Inner task failed" in done.stderr
    parent = parent_of(client, pipeline)
    assert (parent.info.status, parent.data.tags["kfp.final_state"]) == ("FAILED", "FAILED")
    assert children_of(client, parent) == {"prompts": "FAILED"}
    assert parent.data.tags["error"].startswith("prompts: ")
    assert (parent.data.params["rollout.shards"], parent.data.tags["seed"]) == ("2", "0")
