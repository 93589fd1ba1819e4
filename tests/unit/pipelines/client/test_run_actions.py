"""`advantageflow runs cancel | logs | retry`: one run on a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_stub.server import KfpStub
from kubernetes_stub.server import serving

from advantageflow.tracking.lifecycle import close_pipeline_run, open_pipeline_run
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.pipeline_run import find_pipeline_run
from advantageflow_pipelines.client.checks.check import retries_of
from advantageflow_pipelines.commands import run_actions

Command = Callable[..., tuple[int, str, str]]
Replay = Callable[..., str]
PATCH = Path(__file__).parents[4] / "infra" / "argo" / "retries.yaml"
AS_SHIPPED = "spec:\n  templateDefaults:\n    retryStrategy:\n      limit: '2'\n      retryPolicy: OnError\n"


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(run_actions, "POLL_SECONDS", 0.0)


@pytest.fixture
def tracked(store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Open a run in MLflow; gives what looks it up."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")

    def open_run(pipeline: str) -> Any:
        monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", pipeline)
        open_pipeline_run({"seed": 0}, "round 2 / evaluation")
        return find_pipeline_run(open_client(store), pipeline)

    return open_run


def make_run(server: KfpStub, spec: dict[str, Any] | None = None, **more: Any) -> str:
    experiment = server.state.create_experiment({"display_name": "e"})["experiment_id"]
    source = {} if "pipeline_version_reference" in more else {"pipeline_spec": spec or {}}
    run = {"display_name": "r", "experiment_id": experiment, **source, **more}
    return str(server.state.create_run(run)["run_id"])


def test_a_cancelled_run_ends_there_and_in_mlflow(
    advantageflow: Command, server: KfpStub, tracked: Callable[[str], Any], store: str
) -> None:
    run_id = make_run(server)
    server.state.stories[run_id] = [{"state": "RUNNING"}]
    tracked(run_id)
    status, out, _ = advantageflow("runs", "cancel", run_id, "--host", server.url)
    assert status == 0
    assert f"run {run_id} was cancelled" in out
    assert len(server.bodies("run_service_terminate_run")) == 1
    ended = find_pipeline_run(open_client(store), run_id)
    assert ended is not None
    assert ended.info.status == "KILLED"


@pytest.mark.parametrize(("recording", "words"), [("scheduled", "succeeded"), ("cancelled-as-shipped", "is cancelled")])
def test_a_run_that_is_over_cannot_be_cancelled(
    advantageflow: Command, server: KfpStub, replayed: Replay, recording: str, words: str
) -> None:
    run_id = replayed(recording)
    server.state.stories[run_id] = server.state.stories[run_id][-1:]
    status, _, err = advantageflow("runs", "cancel", run_id, "--host", server.url)
    assert status == 2
    assert f"the run {words}" in err
    assert not server.bodies("run_service_terminate_run")


def test_what_is_missing_of_a_run_is_submitted_with_the_same_pipeline_parameters_and_account(
    advantageflow: Command, server: KfpStub, pipeline_spec: dict[str, Any], tracked: Callable[[str], Any], store: str
) -> None:
    """What reads an address is taken from the first run; MLflow's run goes on, and ends as the new run does."""
    spec = json.loads(json.dumps(pipeline_spec))
    own = {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    spec["root"]["dag"]["tasks"]["prompts"]["inputs"]["parameters"]["made_for"] = own
    given = {"service_account": "mine", "runtime_config": {"parameters": {"seed": 5}}, "description": "mine"}
    first = make_run(server, spec, **given)
    mlflow = tracked(first)
    close_pipeline_run("FAILED", "lost")
    server.state.stories[first] = [{"state": "FAILED"}]
    status, out, _ = advantageflow("runs", "retry", first, "--host", server.url)
    assert status == 0
    again = server.state.runs[next(name for name in server.state.runs if name != first)]
    assert f"run {again['run_id']} started, again after run {first}" in out
    assert (again["service_account"], again["runtime_config"]["parameters"]) == ("mine", {"seed": 5})
    assert again["description"] == f"mine (again, after run {first})"
    assert again["pipeline_spec"] == json.loads(json.dumps(spec).replace("{{$.pipeline_job_uuid}}", first))
    continued = tracked(again["run_id"])
    assert continued.info.run_id == mlflow.info.run_id
    assert (continued.info.status, "error" in continued.data.tags) == ("RUNNING", False)
    assert continued.data.tags["advantageflow.earlier_pipeline_runs"] == first
    close_pipeline_run("COMPLETE", None)
    ended = find_pipeline_run(open_client(store), again["run_id"])
    assert ended is not None
    assert ended.info.status == "FINISHED"


def test_a_scheduled_run_is_submitted_again_with_the_pipeline_of_its_version(
    advantageflow: Command, server: KfpStub, pipeline_spec: dict[str, Any]
) -> None:
    pipeline = server.state.create_pipeline({"display_name": "p"})["pipeline_id"]
    body = yaml.safe_dump(pipeline_spec).encode()
    version = server.state.upload_pipeline_version(body, "v", pipeline)["pipeline_version_id"]
    reference = {"pipeline_id": pipeline, "pipeline_version_id": version}
    first = make_run(server, pipeline_version_reference=reference)
    server.state.stories[first] = [{"state": "FAILED"}]
    status, out, _ = advantageflow("runs", "retry", first, "--host", server.url)
    assert status == 0
    assert list(server.state.runs.values())[-1]["pipeline_spec"] == pipeline_spec
    assert "with MLFLOW_TRACKING_URI set it would continue the old run" in out


@pytest.mark.parametrize(("state", "words"), [("SUCCEEDED", "nothing missing"), ("RUNNING", "wait for its end")])
def test_a_run_that_succeeded_or_goes_on_is_not_submitted_again(
    advantageflow: Command, server: KfpStub, state: str, words: str
) -> None:
    run_id = make_run(server)
    server.state.stories[run_id] = [{"state": state}]
    status, _, err = advantageflow("runs", "retry", run_id, "--host", server.url)
    assert status == 2
    assert words in err
    assert len(server.state.runs) == 1


def test_logs_are_those_of_the_stage_s_pods_in_order(
    advantageflow: Command, server: KfpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = make_run(server)
    with serving("kubeflow") as cluster:
        (tmp_path / "kubeconfig").write_text(json.dumps(cluster.kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        for name, hour, stage in (("second", 2, "training"), ("first", 1, "training"), ("other", 0, "prompts")):
            labels = {"pipeline/runid": run_id, "app.kubernetes.io/component": stage}
            metadata = {"name": name, "creationTimestamp": f"2026-11-28T0{hour}:00:00Z", "labels": labels}
            spec = {"containers": [{"name": "main"}]}
            cluster.objects["pods", name] = {"metadata": metadata, "spec": spec, "log": f"begun\n{name}\nends"}
        status, out, _ = advantageflow("runs", "logs", run_id, "training", "--tail", "2", "--host", server.url)
    assert (status, out.splitlines()) == (0, ["== first", "first", "ends", "== second", "second", "ends"])


def test_where_no_pod_can_be_read_the_command_for_somebody_who_can_is_shown(
    advantageflow: Command, server: KfpStub
) -> None:
    run_id = make_run(server)
    out = advantageflow("runs", "logs", run_id, "rollout", "--host", server.url)[1]
    selector = f"pipeline/runid={run_id},app.kubernetes.io/component=rollout"
    assert f"kubectl logs --namespace kubeflow --selector {selector} --container main" in out


def test_the_patch_for_administrators_has_all_tried_again() -> None:
    assert retries_of(yaml.safe_load(PATCH.read_text())["data"]) == ("Always", ())
    assert retries_of({"workflowDefaults": AS_SHIPPED}) == ("OnError", ("containers that end by themselves",))
    assert retries_of({"config": yaml.safe_dump({"workflowDefaults": yaml.safe_load(AS_SHIPPED)})})[0] == "OnError"
    assert retries_of({}) == ("OnFailure", ("pods that are lost with their node",))
