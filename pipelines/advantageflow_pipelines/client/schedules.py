"""Schedules on a server (Kubeflow's recurring runs): make, list, find, pause, resume and delete them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.cron import interval_text
from advantageflow_pipelines.client.pipelines import Version
from advantageflow_pipelines.client.refusals import AlreadyThere, NotThere
from advantageflow_pipelines.client.runs import experiment_id


@dataclass(frozen=True)
class When:
    """When runs start: either by a six-field cron expression, in UTC, or every so many seconds."""

    cron: str | None = None
    seconds: int | None = None

    def __str__(self) -> str:
        return f"cron {self.cron} (UTC)" if self.cron else f"every {interval_text(self.seconds or 0)}"


@dataclass(frozen=True)
class Schedule:
    """A schedule as the server knows it."""

    schedule_id: str
    name: str
    when: When
    enabled: bool
    concurrency: int
    catch_up: bool
    created: datetime | None


def create_schedule(
    api: Api,
    version: Version,
    *,
    name: str,
    when: When,
    experiment: str,
    service_account: str,
    concurrency: int = 1,
    catch_up: bool = False,
    description: str = "",
) -> str:
    """Make a schedule of an uploaded pipeline.

    Kubeflow would take a second schedule of the same name, and run both.

    Args:
        api: of the server.
        version: of the pipeline to run.
        name: of the schedule.
        when: runs start.
        experiment: name of the runs' experiment, made if it is not there.
        service_account: of the pods.
        concurrency: runs at a time, 1 to 10; further ones wait.
        catch_up: whether runs that were missed, as in a pause, are made up for.
        description: of the schedule.

    Returns:
        Its id.

    Raises:
        ClusterError: the name is taken, or the server cannot be reached or does not take it.
    """
    import kfp_server_api as generated

    check_name_is_free(api, name)
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

    Raises:
        ClusterError: one has.
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

    Raises:
        ClusterError: there is none, or several have the name; lists their ids.
    """
    matching = list(list_schedules(api, name_or_id))
    if not matching:
        get = api.schedules.recurring_run_service_get_recurring_run
        try:
            return _schedule(api.ask(get, f"schedule '{name_or_id}'", recurring_run_id=name_or_id))
        except NotThere as error:
            remedy = "see `advantageflow schedule list`"
            raise NotThere(error.message, where=error.where, remedy=remedy) from None
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
    trigger = one.trigger
    cron = trigger.cron_schedule.cron if trigger and trigger.cron_schedule else None
    periodic = trigger.periodic_schedule if trigger else None
    return Schedule(
        schedule_id=str(one.recurring_run_id),
        name=one.display_name or "",
        when=When(cron, int(periodic.interval_second) if periodic else None),
        enabled=one.status == "ENABLED" or (one.status is None and one.mode == "ENABLE"),
        concurrency=int(one.max_concurrency or 1),
        catch_up=not one.no_catchup,
        created=one.created_at,
    )
