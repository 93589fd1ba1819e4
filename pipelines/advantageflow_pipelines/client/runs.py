"""Runs on a server: start, look at, list, end and submit one again; and the experiments that they belong to."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from advantageflow.errors import ClusterError
from advantageflow.tracking.continuing import FIRST_RUN, whole_name
from advantageflow.tracking.kubeflow import CANCELED, CANCELING, ENDED, true_state
from advantageflow_pipelines.client.api import Api, NotThere, find_or_create
from advantageflow_pipelines.client.package import Package

SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
_NEWEST_FIRST = "created_at desc"
_THIS_RUN = "{{$.pipeline_job_uuid}}"  # Kubeflow's word; a task that is given it takes no results of other runs
_FIRST_YEAR = 2000  # Kubeflow writes the years 1 and 1970 where it has no time


@dataclass(frozen=True)
class TaskStatus:
    """A task of a run: a stage, a round, or one of Kubeflow's own; `pods` are the ids of the nodes after it."""

    task_id: str
    name: str
    state: str
    started: datetime | None
    ended: datetime | None
    error: str
    pods: tuple[str, ...]


@dataclass(frozen=True)
class RunStatus:
    """A run as the server knows it at one moment; a cancelled one is CANCELED, which the server calls FAILED.

    Of a run that a schedule started, or of one in a list, `spec` is empty.
    `first_run` is the run that it continues, itself or through others; its own id if none.
    """

    run_id: str
    name: str
    state: str
    created: datetime | None
    ended: datetime | None
    error: str
    tasks: tuple[TaskStatus, ...]
    experiment_id: str
    first_run: str
    spec: Mapping[str, Any]

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled it; it may not have ended yet."""
        return self.state in (CANCELING, CANCELED)

    @property
    def word(self) -> str:
        """Its state, for people."""
        return {CANCELED: "cancelled", CANCELING: "being cancelled"}.get(self.state, self.state.lower())

    @property
    def seconds(self) -> float | None:
        """How long it took, if it has ended."""
        return (self.ended - self.created).total_seconds() if self.over and self.ended and self.created else None


def start_run(api: Api, package: Package, *, name: str, experiment: str, description: str, service_account: str) -> str:
    """Start a run of a compiled pipeline, whose parameters' defaults are the run's values; gives its id.
    Raises ClusterError: the server cannot be reached or does not take it.

    Args:
        experiment: name of the experiment, made if it is not there.
    """
    from kfp_server_api import V2beta1Run, V2beta1RuntimeConfig

    run = V2beta1Run(
        experiment_id=experiment_id(api, experiment),
        display_name=name,
        description=description,
        pipeline_spec=package.as_json(),
        runtime_config=V2beta1RuntimeConfig(parameters={}),
        service_account=service_account,
    )
    return str(api.ask(api.runs.run_service_create_run, f"run '{name}'", changes=True, run=run).run_id)


def get_run(api: Api, run_id: str) -> RunStatus:
    """A run and its tasks.
    Raises ClusterError: there is no such run, or the server cannot be reached.
    """
    return _status_of(api.ask(api.runs.run_service_get_run, f"run {run_id}", run_id=run_id))


def cancel_run(api: Api, run_id: str) -> RunStatus:
    """Have the server end a run; gives it as it was.
    Raises ClusterError: it is over, there is no such run, or the server cannot be reached or refuses.
    """
    run = get_run(api, run_id)
    if run.over:
        raise ClusterError(f"the run {_became(run)}", where=f"run {run_id}", remedy="there is nothing to cancel")
    api.ask(api.runs.run_service_terminate_run, f"cancelling run {run_id}", changes=True, run_id=run_id)
    return run


def retry_run(api: Api, run_id: str) -> str:
    """Start a run of the same pipeline, parameters and service account, in the same experiment; gives its id.
    Raises ClusterError: the run succeeded or goes on, there is no such run, or the server cannot be reached or refuses.

    What is complete of the run is taken from the cache, and a training goes on from its last checkpoint in the store:
    both know their results by what they are made of. What reads an address, and so is made for one run only, is taken
    from that run. Kubeflow's own retry makes the run's last task no second time, and is impossible once the run is too
    large for it ("Request entity too large").
    """
    from kfp_server_api import V2beta1Run, V2beta1RuntimeConfig

    told = api.ask(api.runs.run_service_get_run, f"run {run_id}", run_id=run_id)
    run = _status_of(told)
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


def list_runs(api: Api, experiment: str | None = None) -> Iterator[RunStatus]:
    """Runs, of all experiments or of the one of this id, newest first, fetched as they are wanted."""
    where = {"namespace": api.namespace} if experiment is None else {"experiment_id": experiment}
    listing = api.runs.run_service_list_runs
    return map(_status_of, api.pages(listing, "runs", "the list of runs", sort_by=_NEWEST_FIRST, **where))


def segments_of(api: Api, run_id: str) -> list[RunStatus]:
    """The pipeline runs that belong to one run, in the order that they began; a run that has no segments is its own.
    Raises ClusterError: there is no run of this id, or the server cannot be reached.
    """
    run = get_run(api, run_id)
    found = []
    for listed in list_runs(api, run.experiment_id):  # the newest first
        if whole_name(listed.name) != whole_name(run.name):
            continue
        one = get_run(api, listed.run_id)  # a list need not tell parameters
        if one.first_run == run.first_run:
            found.append(one)
        if one.run_id == run.first_run:
            break
    return found[::-1] or [run]  # it was archived, and is in no list


def follow_segments(api: Api, run_id: str) -> Iterator[str]:
    """Ids of a run and of those that continue it; each is looked for when it is asked for, after the one before."""
    yield run_id
    while True:
        ids = [one.run_id for one in segments_of(api, run_id)]
        later = ids[ids.index(run_id) + 1 :] if run_id in ids else []
        if not later:
            return
        run_id = later[0]
        yield run_id


def known_experiment(api: Api, name: str) -> str:
    """The id of an experiment.
    Raises ClusterError: it is not there.
    """
    found = find_experiment(api, name)
    if found is None:
        remedy = "check the name, which is case-sensitive"
        raise NotThere(f"the server has no experiment '{name}'", where=api.connection.host, remedy=remedy)
    return found


def experiment_id(api: Api, name: str) -> str:
    """The id of an experiment, which is made if it is not there."""
    from kfp_server_api import V2beta1Experiment

    def create() -> str:
        new = V2beta1Experiment(display_name=name, namespace=api.namespace)
        make = api.experiments.experiment_service_create_experiment
        return str(api.ask(make, f"experiment '{name}'", changes=True, experiment=new).experiment_id)

    return find_or_create(lambda: find_experiment(api, name), create)


def find_experiment(api: Api, name: str) -> str | None:
    """The id of an experiment; None if it is not there."""
    listing = api.experiments.experiment_service_list_experiments
    listed = api.named(listing, "experiments", f"experiment '{name}'", name, namespace=api.namespace)
    return next((str(one.experiment_id) for one in listed), None)


def _status_of(one: Any) -> RunStatus:
    """A run by the server's answer."""
    parameters = (one.runtime_config and one.runtime_config.parameters) or {}
    details = (one.run_details and one.run_details.task_details) or []
    return RunStatus(
        run_id=str(one.run_id),
        name=one.display_name or "",
        state=true_state(one.state or "PENDING", [entry.state for entry in one.state_history or []]),
        created=_time(one.created_at),
        ended=_time(one.finished_at),
        error=_error(one),
        tasks=tuple(_task(task) for task in details),
        experiment_id=one.experiment_id or "",
        first_run=str(parameters.get(FIRST_RUN) or one.run_id),
        spec=one.pipeline_spec or {},
    )


def _task(one: Any) -> TaskStatus:
    return TaskStatus(
        task_id=one.task_id or f"{one.display_name} {one.start_time}",
        name=one.display_name or "",
        state=one.state or "PENDING",
        started=_time(one.start_time),
        ended=_time(one.end_time),
        error=_error(one),
        pods=tuple(child.pod_name for child in one.child_tasks or [] if child.pod_name),
    )


def _error(one: Any) -> str:
    """What the server says of a failure: at the thing itself, or where it tells of its states."""
    told = [one.error, *(status.error for status in reversed(one.state_history or []))]
    return next((str(error.message) for error in told if error and error.message), "")


def _time(value: datetime | None) -> datetime | None:
    if value is None or value.year < _FIRST_YEAR:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
