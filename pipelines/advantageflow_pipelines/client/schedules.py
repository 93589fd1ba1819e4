"""Schedules on a server (Kubeflow's recurring runs): make, list, find, pause, resume and delete them; and the pipelines
that a server keeps, of which a schedule runs one version."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.api import AlreadyThere, Api, NotThere, find_or_create
from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.runs import experiment_id

_FIELDS = 6
_ORDER = "second minute hour day-of-month month day-of-week, as in '0 0 3 * * mon' (Mondays at 3:00 UTC)"
_INTERVAL = re.compile(r"(?P<count>[1-9][0-9]{0,8})(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class When:
    """When runs start: either by a six-field cron expression, in UTC, or every so many seconds."""

    cron: str | None = None
    seconds: int = 0

    def __str__(self) -> str:
        if self.cron:
            return f"cron {self.cron} (UTC)"
        unit = next(unit for unit in "dhms" if self.seconds % _SECONDS[unit] == 0)
        return f"every {self.seconds // _SECONDS[unit]}{unit}"


@dataclass(frozen=True)
class Schedule:
    """A schedule as the server knows it."""

    schedule_id: str
    name: str
    when: When
    enabled: bool
    concurrency: int
    catch_up: bool


class Version(NamedTuple):
    """A version of a pipeline on the server."""

    pipeline_id: str
    version_id: str
    pipeline: str
    name: str


def by_cron(expression: str) -> When:
    """By a cron expression with six fields, as Kubeflow reads it; its server checks the fields.
    Raises SettingsError: it has not six fields.
    """
    where = f"--cron '{expression}'"
    fields = expression.split()
    if len(fields) == _FIELDS - 1:
        remedy = (
            f"put the second first, as in '0 {' '.join(fields)}'; with five fields Kubeflow takes minutes for seconds"
        )
        raise SettingsError("has five fields where Kubeflow has six", where=where, remedy=remedy)
    if len(fields) != _FIELDS:
        raise SettingsError(f"has {len(fields)} fields, not six", where=where, remedy=f"write {_ORDER}")
    return When(cron=" ".join(fields))


def by_interval(text: str) -> When:
    """By an interval such as 6h.
    Raises SettingsError: it is not an interval.
    """
    parsed = _INTERVAL.fullmatch(text.strip())
    if parsed is None:
        remedy = "write a number and s, m, h or d, as in --every 6h"
        raise SettingsError("not an interval", where=f"--every '{text}'", remedy=remedy)
    return When(seconds=int(parsed["count"]) * _SECONDS[parsed["unit"]])


def upload(api: Api, package: Package, *, pipeline: str | None = None, version: str | None = None) -> Version:
    """Upload a compiled pipeline as a version of a pipeline on the server, which is made if it is not there.
    Raises ClusterError: the version's name is taken, or the server cannot be reached or does not take it.

    Args:
        pipeline: name on the server; the package's own if None.
        version: name of the new version; if None, one that says its content, which is uploaded once.
    """
    pipeline = pipeline or package.name
    pipeline_id = _pipeline_id(api, pipeline)
    name = version or f"{pipeline}-{package.digest()}"
    listing = api.pipelines.pipeline_service_list_pipeline_versions
    there = next(api.named(listing, "pipeline_versions", f"version '{name}'", name, pipeline_id=pipeline_id), None)
    if there is not None and version is None:
        return Version(pipeline_id, str(there.pipeline_version_id), pipeline, name)
    if there is not None:
        remedy = "choose another with --version-name, or leave it away: the name is then made from the content"
        message = f"pipeline '{pipeline}' has a version '{name}' already"
        raise AlreadyThere(message, where=api.connection.host, remedy=remedy)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{package.name}.yaml"
        file.write_text(package.as_yaml(), encoding="utf-8")
        sent = api.ask(
            api.uploads.upload_pipeline_version, f"version '{name}' of pipeline '{pipeline}'", changes=True,
            uploadfile=str(file), name=name, pipelineid=pipeline_id,
        )  # fmt: skip
    return Version(pipeline_id, str(sent.pipeline_version_id), pipeline, name)


def _pipeline_id(api: Api, name: str) -> str:
    """The id of a pipeline, which is made, empty, if it is not there."""
    from kfp_server_api import V2beta1Pipeline

    service, what = api.pipelines, f"pipeline '{name}'"

    def find() -> str | None:
        listed = api.named(service.pipeline_service_list_pipelines, "pipelines", what, name, namespace=api.namespace)
        return next((str(one.pipeline_id) for one in listed), None)

    def create() -> str:
        new = V2beta1Pipeline(display_name=name, name=name, namespace=api.namespace)
        return str(api.ask(service.pipeline_service_create_pipeline, what, changes=True, pipeline=new).pipeline_id)

    return find_or_create(find, create)


def create_schedule(
    api: Api,
    version: Version,
    *,
    name: str,
    when: When,
    experiment: str,
    service_account: str,
    concurrency: int,
    catch_up: bool,
    description: str,
) -> str:
    """Make a schedule of an uploaded pipeline; gives its id.
    Raises ClusterError: the server cannot be reached or does not take it.

    Args:
        name: of the schedule, of which Kubeflow would take a second one, and run both: see `check_name_is_free`.
        experiment: name of the runs' experiment, made if it is not there.
        concurrency: runs at a time, 1 to 10; further ones wait.
        catch_up: whether runs that were missed, as in a pause, are made up for.
    """
    import kfp_server_api as generated

    if when.cron is not None:
        trigger = generated.V2beta1Trigger(cron_schedule=generated.V2beta1CronSchedule(cron=when.cron))
    else:
        every = generated.V2beta1PeriodicSchedule(interval_second=str(when.seconds))
        trigger = generated.V2beta1Trigger(periodic_schedule=every)
    new = generated.V2beta1RecurringRun(
        display_name=name,
        description=description,
        experiment_id=experiment_id(api, experiment),
        pipeline_version_reference=generated.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=generated.V2beta1RuntimeConfig(parameters={}),
        trigger=trigger,
        mode=generated.RecurringRunMode.ENABLE,
        max_concurrency=str(concurrency),
        no_catchup=not catch_up,
        service_account=service_account,
    )
    create = api.schedules.recurring_run_service_create_recurring_run
    return str(api.ask(create, f"schedule '{name}'", changes=True, recurring_run=new).recurring_run_id)


def check_name_is_free(api: Api, name: str) -> None:
    """Check that no schedule has this name.
    Raises ClusterError: one has.
    """
    for taken in list_schedules(api, name):
        remedy = f"choose another with --name, or first: advantageflow schedule delete {taken.schedule_id}"
        message = f"there is a schedule '{name}' already ({taken.when}, id {taken.schedule_id})"
        raise AlreadyThere(message, where=api.connection.host, remedy=remedy)


def list_schedules(api: Api, name: str | None = None) -> Iterator[Schedule]:
    """All schedules, or those of one name, fetched as they are wanted."""
    listing = api.schedules.recurring_run_service_list_recurring_runs, "recurring_runs", "the list of schedules"
    if name is None:
        return map(_schedule, api.pages(*listing, namespace=api.namespace))
    return map(_schedule, api.named(*listing, name, namespace=api.namespace))


def find_schedule(api: Api, name_or_id: str) -> Schedule:
    """The schedule of this id or name.
    Raises ClusterError: there is none, or several have the name; lists their ids.
    """
    matching = list(list_schedules(api, name_or_id))
    if not matching:
        get = api.schedules.recurring_run_service_get_recurring_run
        try:
            return _schedule(api.ask(get, f"schedule '{name_or_id}'", recurring_run_id=name_or_id))
        except NotThere as error:
            raise NotThere(error.message, where=error.where, remedy="see `advantageflow schedule list`") from None
    if len(matching) > 1:
        ids = ", ".join(one.schedule_id for one in matching)
        message = f"{len(matching)} schedules have the name '{name_or_id}'"
        raise AlreadyThere(message, where=api.connection.host, remedy=f"give the id of one: {ids}")
    return matching[0]


def change_schedule(api: Api, schedule: Schedule, change: Literal["disable", "enable", "delete"]) -> None:
    """Let a schedule start no runs, or again, or delete it; runs that it started, and the pipeline, stay."""
    operation = getattr(api.schedules, f"recurring_run_service_{change}_recurring_run")
    api.ask(operation, f"schedule '{schedule.name}'", changes=True, recurring_run_id=schedule.schedule_id)


def _schedule(one: Any) -> Schedule:
    cron, periodic = (one.trigger.cron_schedule, one.trigger.periodic_schedule) if one.trigger else (None, None)
    return Schedule(
        schedule_id=str(one.recurring_run_id),
        name=one.display_name or "",
        when=When(cron and cron.cron, int(periodic.interval_second) if periodic else 0),
        enabled=one.status == "ENABLED" or (one.status is None and one.mode == "ENABLE"),
        concurrency=int(one.max_concurrency or 1),
        catch_up=not one.no_catchup,
    )
