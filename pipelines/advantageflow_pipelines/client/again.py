"""Ending a run on a server, and submitting again what is missing of one that did not succeed."""

from __future__ import annotations

import json
from typing import Any

from advantageflow.errors import ClusterError
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.runs import FAILED, SUCCEEDED, RunStatus, get_run, status_of

_THIS_RUN = "{{$.pipeline_job_uuid}}"  # Kubeflow's word; a task that is given it takes no results of other runs


def cancel_run(api: Api, run_id: str) -> RunStatus:
    """Have the server end a run; gives it as it was.

    Raises:
        ClusterError: it is over, there is no such run, or the server cannot be reached or refuses.
    """
    run = get_run(api, run_id)
    if run.over:
        raise ClusterError(f"the run {_became(run)}", where=f"run {run_id}", remedy="there is nothing to cancel")
    api.ask(api.runs.run_service_terminate_run, f"cancelling run {run_id}", changes=True, run_id=run_id)
    return run


def retry_run(api: Api, run_id: str) -> str:
    """Start a run of the same pipeline, parameters and service account, in the same experiment.

    What is complete of the run is taken from the cache, and a training goes on from its last checkpoint in the store:
    both know their results by what they are made of. What reads an address, and so is made for one run only, is taken
    from that run. Kubeflow's own retry makes the run's last task no second time, and is impossible once the run is too
    large for it ("Request entity too large").

    Returns:
        Its id.

    Raises:
        ClusterError: the run succeeded or goes on, there is no such run, or the server cannot be reached or refuses.
    """
    from kfp_server_api import V2beta1Run, V2beta1RuntimeConfig

    told = api.ask(api.runs.run_service_get_run, f"run {run_id}", run_id=run_id)
    run = status_of(told)
    if not run.over or run.state == SUCCEEDED:
        remedy = "there is nothing missing" if run.over else "wait for its end, or cancel it: advantageflow runs cancel"
        raise ClusterError(f"the run {_became(run)}", where=f"run {run_id}", remedy=remedy)
    spec = json.dumps(told.pipeline_spec or _spec_of_version(api, told.pipeline_version_reference))
    again = V2beta1Run(
        experiment_id=told.experiment_id,
        display_name=told.display_name,
        description=" ".join(filter(None, (told.description, f"(again, after run {run_id})"))),
        pipeline_spec=json.loads(spec.replace(_THIS_RUN, run_id)),
        runtime_config=told.runtime_config or V2beta1RuntimeConfig(parameters={}),
        service_account=told.service_account,
    )
    return str(api.ask(api.runs.run_service_create_run, f"run '{told.display_name}'", changes=True, run=again).run_id)


def _spec_of_version(api: Api, reference: Any) -> dict[str, Any]:
    """The pipeline of a run that a schedule started."""
    get = api.pipelines.pipeline_service_get_pipeline_version
    ids = {"pipeline_id": reference.pipeline_id, "pipeline_version_id": reference.pipeline_version_id}
    return dict(api.ask(get, f"pipeline version {reference.pipeline_version_id}", **ids).pipeline_spec)


def _became(run: RunStatus) -> str:
    return run.word if run.state in (SUCCEEDED, FAILED) else f"is {run.word}"
