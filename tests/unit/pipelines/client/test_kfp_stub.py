"""The stand-in for Kubeflow's API server is a true one: Kubeflow's own client works with it."""

from __future__ import annotations

import urllib.error
import urllib.request
import warnings
from pathlib import Path

import kfp
import pytest
from kfp_stub.server import serving
from online_ir import compile_pipeline

from advantageflow_pipelines.configuration.choices import choose_settings


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


def test_what_the_api_does_not_have_is_refused() -> None:
    with serving() as stub:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{stub.url}/apis/v1beta1/runs")
        with pytest.raises(urllib.error.HTTPError, match="500"):
            urllib.request.urlopen(f"{stub.url}/apis/v2beta1/healthz?colour=red")
    assert len(stub.violations) == 2
