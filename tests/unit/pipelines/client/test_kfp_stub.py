"""The stand-in for Kubeflow's API server is a true one: Kubeflow's own client works with it; the rest is refused."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import kfp
import pytest
from kfp_stub.description import check_value, operations
from kfp_stub.server import serving

from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.building import compile_pipeline


def send(url: str, verb: str = "GET", body: object = None, kind: str = "application/json") -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": kind}, method=verb)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_kubeflows_own_client_works_with_it(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    compile_pipeline(choose_settings(preset="tiny"), file)
    with serving() as stub, warnings.catch_warnings(action="ignore"):
        client = kfp.Client(host=stub.url)
        experiment = client.create_experiment("nightly").experiment_id
        run = client.run_pipeline(experiment, "one", str(file), params={"seed": 3}, enable_caching=False)
        assert client.wait_for_run_completion(run.run_id, timeout=10).state == "SUCCEEDED"
        assert [one.run_id for one in client.list_runs(experiment_id=experiment).runs] == [run.run_id]
        made = client.create_recurring_run(
            experiment, "weekly", cron_expression="0 0 3 * * 1", no_catchup=True, pipeline_package_path=str(file)
        )
        client.disable_recurring_run(made.recurring_run_id)
        assert client.get_recurring_run(made.recurring_run_id).status == "DISABLED"
    assert not stub.violations


@pytest.mark.parametrize(
    ("verb", "path", "body", "words"),
    [
        ("GET", "/runs?colour=red", None, "unknown query parameter colour"),
        ("GET", "/runs?page_size=many", None, "page_size=many is no int"),
        ("POST", "/runs", {"name": "x"}, "has no field name"),
        ("POST", "/runs", {"display_name": 1}, "is no str"),
        ("POST", "/runs", {"runtime_config": {"parameters": []}}, "is no map"),
        ("POST", "/recurringruns", {"mode": "ON"}, "is none of"),
        ("POST", "/recurringruns", {"trigger": {"cron_schedule": {"start_time": "soon"}}}, "is no datetime"),
        ("POST", "/pipelines/upload_version?name=a", None, "no file uploadfile"),
    ],
)
def test_a_request_that_the_description_does_not_allow_is_refused(
    verb: str, path: str, body: object, words: str
) -> None:
    with serving() as stub:
        status, answer = send(f"{stub.url}/apis/v2beta1{path}", verb, body)
    assert status == 400
    assert words in answer
    assert stub.violations


def test_an_unknown_path_or_verb_is_refused() -> None:
    with serving() as stub:
        assert send(f"{stub.url}/apis/v1beta1/runs")[0] == 404
        assert send(f"{stub.url}/apis/v2beta1/recurringruns/7", "PUT", {})[0] == 404
    assert len(stub.violations) == 2


def test_a_pipeline_that_is_none_is_refused() -> None:
    with serving() as stub:
        experiments, runs = f"{stub.url}/apis/v2beta1/experiments", f"{stub.url}/apis/v2beta1/runs"
        experiment = json.loads(send(experiments, "POST", {"display_name": "e"})[1])["experiment_id"]
        run = {"display_name": "r", "experiment_id": experiment, "pipeline_spec": {"rooot": {}}}
        status, answer = send(runs, "POST", run)
    assert status == 400
    assert "Invalid pipeline spec" in answer


def test_the_description_is_read_whole() -> None:
    found = {one.name: one for one in operations()}
    assert len(found) == len(operations()) > 30
    assert found["run_service_list_runs"].query["page_size"] == "int"
    assert found["upload_pipeline_version"].file == "uploadfile"
    assert check_value({"state": "RUNNING"}, "V2beta1Run", "run") == []
    assert check_value({"state": "GOING"}, "V2beta1Run", "run") != []
