"""`advantageflow runs follow` and `submit --wait`: what is shown of a run, by Kubeflow's list of tasks and MLflow's."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kfp_stub.server import KfpStub
from rich.console import Console

from advantageflow.tracking.lifecycle import open_pipeline_run
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.pipeline_run import find_pipeline_run
from advantageflow.tracking.recorder import Recorder
from advantageflow_pipelines.client import follow
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import make_connection
from advantageflow_pipelines.client.records import Records
from advantageflow_pipelines.client.runs import get_run
from advantageflow_pipelines.local import display

Command = Callable[..., tuple[int, str, str]]
Replay = Callable[..., str]


class Recorded:
    """A run in MLflow, to which tasks are written as stages on a cluster write them."""

    def __init__(self, store: str, pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", pipeline)
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
        open_pipeline_run({"seed": 0}, "round 2 / evaluation")
        monkeypatch.delenv("KF_PIPELINES_ENDPOINT")
        self.client = open_client(store)
        run = find_pipeline_run(self.client, pipeline)
        assert run is not None
        self.recorder = Recorder(self.client, run.info.experiment_id, run.info.run_id)

    def task(self, stage: str, number: int, shard: int | None, *events: dict[str, Any]) -> None:
        """A task that begins now, and what it tells."""
        task = {"task": f"{stage}-{number}-{shard}", "time": time.time()}
        start = {"event": "start", "stage": stage, "round": number, "shard": shard, "settings": {}}
        for event in (start | {"process_started": time.time()}, *events):
            if self.recorder.takes(task | event):
                self.recorder.record(task | event)


def progress(done: int) -> dict[str, Any]:
    return {"event": "progress", "done": done, "total": 24, "unit": "images", "time": time.time() + 60}


END = {"event": "end", "seconds": 12.0, "cpu_seconds": 20.0}
ERROR = {"event": "error", "kind": "RewardError", "message": "no score for 3 images", "where": "reward 'mine'",
         "remedy": "mend the reward", "traceback": None}  # fmt: skip


def lines_of(out: str) -> list[str]:
    """What is shown of tasks, without the time."""
    return re.findall(r"^ *\d+:\d\d  (.*)$", out, re.MULTILINE)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.0)


def test_each_stage_is_a_line_by_round_shard_and_attempt_and_plumbing_is_none(
    advantageflow: Command, server: KfpStub, replayed: Replay
) -> None:
    status, out, _ = advantageflow("runs", "follow", replayed("killed-and-retried"), "--host", server.url)
    assert status == 0
    shown = lines_of(out)
    assert "round 1 rollout, shard 2: attempt 2" in shown
    ended = [line.partition(":")[0] for line in shown if line.endswith(" s")]
    assert sorted(ended) == sorted({
        "prompts", "evaluation of the base", "round 1 rollout, shard 1", "round 1 rollout, shard 2",
        "round 1 reward, shard 1", "round 1 reward, shard 2", "round 1 training", "round 1 evaluation",
    })  # fmt: skip
    assert len(shown) == len(ended) + 1


def test_a_list_that_stands_still_is_said_once_and_shows_nothing_as_running(
    advantageflow: Command, server: KfpStub, replayed: Replay
) -> None:
    status, out, _ = advantageflow("runs", "follow", replayed("succeeded-list-frozen"), "--host", server.url)
    assert status == 0
    *before, still = lines_of(out)
    assert [line.partition(":")[0] for line in before] == [
        "prompts", "evaluation of the base", "round 1 rollout, shard 1", "round 1 rollout, shard 2",
        "round 1 reward, shard 1", "round 1 reward, shard 2", "round 1 training", "round 1 evaluation",
        "round 2 rollout, shard 1", "round 2 rollout, shard 2",
    ]  # fmt: skip
    assert "list of tasks stands still" in still
    assert "MLFLOW_TRACKING_URI" in out
    assert "running" not in out


def test_tasks_of_a_list_that_stands_still_are_not_shown_as_running_any_more(
    server: KfpStub, replayed: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = replayed("too-large")
    server.state.stories[run_id] = [{**server.state.stories[run_id][-1], "state": "RUNNING", "finished_at": None}]
    run = get_run(Api(make_connection(server.url)), run_id)
    out = io.StringIO()
    bars = display.TaskDisplay(Console(file=out, force_terminal=True, width=100), started=0.0)
    view = follow._View(bars, Records(print))
    monkeypatch.setattr(follow, "_LONG_STILL_SECONDS", 1_000.0)
    view.show(run)
    assert {name.partition(" ")[0] for name in bars._bars} == {"rollout"}
    monkeypatch.setattr(follow, "_LONG_STILL_SECONDS", 0.0)
    view.show(run)
    view.show(run)
    assert not bars._bars
    assert out.getvalue().count("stands still") == 1


def test_where_the_list_stands_still_it_goes_on_from_mlflow_with_how_far_tasks_are(
    advantageflow: Command,
    server: KfpStub,
    replayed: Replay,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id = replayed("succeeded-list-frozen-final", "frozen-with-mlflow")
    final = server.state.stories[run_id][-1]
    running = {**final, "state": "RUNNING", "state_history": [], "finished_at": None}
    server.state.stories[run_id] = [running] * 3 + [final]
    mlflow = Recorded(store, run_id, monkeypatch)
    mlflow.task("reward", 2, 0, END)
    mlflow.task("training", 2, None, progress(8), progress(9))  # at once, and so not written
    monkeypatch.setattr(follow, "_STILL_SECONDS", 0.0)
    monkeypatch.setattr(display, "REMIND_SECONDS", 0.0)
    (tmp_path / "metrics.json").write_text('{"strict": 0.375, "soft": 0.5}')
    told = {"event": "metrics", "values": {"evaluation/strict": 0.375}, "step": 2, "parent": True}
    report = {"event": "artifact", "path": str(tmp_path / "metrics.json"), "folder": "report"}
    evaluated = partial(mlflow.task, "evaluation", 2, None, told, report, END)
    monkeypatch.setattr(server.state, "get_run", _then(server.state.get_run, evaluated))
    _, out, _ = advantageflow("runs", "follow", run_id, "--host", server.url)
    shown = lines_of(out)
    assert [line for line in shown if "stands still" in line] == [f"{follow._STANDS_STILL}: going on from MLflow"]
    assert any(re.match(r"round 2 reward, shard 1: \d", line) for line in shown)
    assert "round 2 training: 8 of 24 images" in shown
    assert any(line.startswith("round 2 evaluation: ") for line in shown)
    assert any(line.startswith("round 2/2: strict accuracy 0.375, soft reward 0.500, ") for line in shown)


def _then(work: Callable[..., Any], more: Callable[[], None]) -> Callable[..., Any]:
    """Do more the second time."""
    times = iter(range(1_000))

    def both(*arguments: Any, **named: Any) -> Any:
        if next(times) == 1:
            more()
        return work(*arguments, **named)

    return both


def test_a_failure_is_the_stage_s_own_error_and_the_command_that_shows_its_log(
    advantageflow: Command, server: KfpStub, replayed: Replay, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = replayed("api-server-away", "failed-with-mlflow")
    Recorded(store, run_id, monkeypatch).task("rollout", 1, 0, ERROR)
    status, out, err = advantageflow("runs", "follow", run_id, "--host", server.url)
    assert status == 1
    assert "round 1 rollout, shard 1 failed" in lines_of(out)
    assert "round 1 rollout, shard 1 failed: reward 'mine'\nno score for 3 images\nmend the reward\n" in err
    assert f"advantageflow runs logs {run_id} rollout --host {server.url}" in err
    assert f"advantageflow runs retry {run_id} --host {server.url}" in err
    assert f"{server.url}/#/runs/details/{run_id}" in err


def test_a_task_that_was_to_be_tried_again_and_was_not_says_what_an_administrator_does(
    advantageflow: Command, server: KfpStub, pipeline_spec: dict[str, Any]
) -> None:
    spec = json.loads(json.dumps(pipeline_spec))
    for part in spec["components"].values():
        for task in part.get("dag", {}).get("tasks", {}).values():
            task["retryPolicy"] = {"maxRetryCount": 2}
    recording = Path(__file__).parents[3] / "data" / "kfp-live" / "killed-as-shipped.jsonl.gz"
    run_id = server.state.replay(recording, spec=spec)
    err = advantageflow("runs", "follow", run_id, "--host", server.url)[2]
    assert "round 1 rollout, shard 2 failed: Kubeflow gives no reason" in err
    assert "tries again only what is lost with its pod" in err
    assert "infra/README.md" in err


def test_a_run_that_grew_too_large_says_so(advantageflow: Command, server: KfpStub, replayed: Replay) -> None:
    status, _, err = advantageflow("runs", "follow", replayed("too-large"), "--host", server.url)
    assert status == 1
    assert "it may have grown beyond what Argo keeps of a run" in err


def test_an_mlflow_that_is_away_costs_one_warning(
    advantageflow: Command, server: KfpStub, replayed: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("advantageflow_pipelines.client.records._AGAIN_SECONDS", 0.0)
    status, out, _ = advantageflow("runs", "follow", replayed("killed-as-shipped"), "--host", server.url)
    assert status == 1
    assert out.count("MLflow tells nothing of this run for now") == 1
    assert "round 1 training" not in out
    assert "prompts: 20.0 s" in out


def test_a_run_that_is_not_there_does_not_go_on(advantageflow: Command, server: KfpStub) -> None:
    status, _, err = advantageflow("runs", "follow", "run-9", "--host", server.url)
    assert status == 2
    assert "the server has no run run-9" in err
    assert "goes on" not in err
