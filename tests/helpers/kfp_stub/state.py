"""What a stand-in for an API server keeps, and what each operation does with it, as Kubeflow's server does."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

Record = dict[str, Any]
_PAGE_LIMIT = 5  # Kubeflow's is 200
_ENDED = ("SUCCEEDED", "FAILED", "SKIPPED")
_STARTED = datetime(2026, 1, 1, tzinfo=UTC)
_GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13}


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": message, "code": _GRPC[status], "message": message, "details": []}


class State:
    """Experiments, pipelines, runs and schedules of a server.

    Args:
        several_users: whether everything belongs to a namespace.
    """

    def __init__(self, *, several_users: bool = False) -> None:
        self.several_users = several_users
        self.experiments: dict[str, Record] = {}
        self.pipelines: dict[str, Record] = {}
        self.versions: dict[str, Record] = {}
        self.runs: dict[str, Record] = {}
        self.schedules: dict[str, Record] = {}
        self.story: list[Record] = [{"state": "SUCCEEDED"}]  # of a run, a chapter each time that it is looked at
        self.stories: dict[str, list[Record]] = {}  # of runs that have one of their own
        self._told: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def operation(self, name: str) -> Callable[..., Record]:
        """What does an operation, by its name in Kubeflow's generated client."""
        return getattr(self, name.partition("_service_")[2] or name)  # type: ignore[no-any-return]

    def get_healthz(self) -> Record:
        return {"multi_user": self.several_users}

    def create_experiment(self, body: Record) -> Record:
        self._check_namespace(body.get("namespace", ""))
        self._check_free(self.experiments, body)
        return self._add(self.experiments, "experiment_id", {**body, "storage_state": "AVAILABLE"})

    def list_experiments(self, **query: str) -> Record:
        return self._page(self.experiments, "experiments", **query)

    def create_pipeline(self, body: Record) -> Record:
        self._check_namespace(body.get("namespace", ""))
        self._check_free(self.pipelines, body)
        return self._add(self.pipelines, "pipeline_id", body)

    def list_pipelines(self, **query: str) -> Record:
        return self._page(self.pipelines, "pipelines", **query)

    def upload_pipeline_version(self, file: bytes, name: str, pipelineid: str, **more: str) -> Record:
        _get(self.pipelines, pipelineid, "Pipeline")
        pipeline, *platform = yaml.load_all(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        _check_pipeline(pipeline, *platform)
        spec = {"pipeline_spec": pipeline, "platform_spec": platform[0]} if platform else pipeline
        version = {"display_name": name, "name": name, "pipeline_id": pipelineid, "pipeline_spec": spec, **more}
        siblings = {key: one for key, one in self.versions.items() if one["pipeline_id"] == pipelineid}
        self._check_free(siblings, version)
        return self._add(self.versions, "pipeline_version_id", version)

    def list_pipeline_versions(self, pipeline_id: str, **query: str) -> Record:
        ours = {key: one for key, one in self.versions.items() if one["pipeline_id"] == pipeline_id}
        return self._page(ours, "pipeline_versions", **query)

    def get_pipeline_version(self, pipeline_id: str, pipeline_version_id: str) -> Record:
        version = _get(self.versions, pipeline_version_id, "PipelineVersion")
        assert version["pipeline_id"] == pipeline_id
        return version

    def create_run(self, body: Record) -> Record:
        self._check_source(body)
        run = self._add(self.runs, "run_id", {**body, "storage_state": "AVAILABLE"})
        return _tell(run, {"state": "PENDING", "scheduled_at": run["created_at"]})

    def get_run(self, run_id: str) -> Record:
        run = _get(self.runs, run_id, "Run")
        story = self.stories.get(run_id, self.story)
        chapter = min(self._told.get(run_id, 0), len(story) - 1)
        self._told[run_id] = chapter + 1
        return _tell(run, story[chapter])

    def terminate_run(self, run_id: str) -> Record:
        """A cancelled run is CANCELING when it is looked at next, and FAILED from then on."""
        run = _get(self.runs, run_id, "Run")
        if run["state"] in _ENDED:
            raise Refused(400, f"Failed to terminate a run: {run_id} has ended")
        self.stories[run_id], self._told[run_id] = [{"state": "CANCELING"}, {"state": "FAILED"}], 0
        return {}

    def replay(self, recording: Path, run_id: str | None = None, spec: Record | None = None) -> str:
        """Have a run whose answers a live server gave (see tests/data/kfp-live), one each time that it is looked at.

        Args:
            recording: of the run.
            run_id: to have in place of its own.
            spec: its pipeline, which is not in the recording.

        Returns:
            Its id.
        """
        with gzip.open(recording, "rt", encoding="utf-8") as file:
            story = [json.loads(line)["run"] for line in file]
        run_id = run_id or str(story[0]["run_id"])
        for chapter in story:
            chapter.update({"run_id": run_id, **({"pipeline_spec": spec} if spec else {})})
        self.runs[run_id], self.stories[run_id] = dict(story[0]), story
        return run_id

    def list_runs(self, **query: str) -> Record:
        return self._page(self.runs, "runs", **query)

    def create_recurring_run(self, body: Record) -> Record:
        self._check_source(body)
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise Refused(400, "Max concurrency of a recurring run must be at least 1 and at most 10")
        trigger = body.get("trigger", {})
        if ("cron_schedule" in trigger) == ("periodic_schedule" in trigger):
            raise Refused(400, "A recurring run has one trigger")
        if len(trigger.get("cron_schedule", {}).get("cron", "0 0 0 1 1 0").split()) not in (5, 6):
            raise Refused(400, "Schedule cron is not a supported format")
        new = self._add(self.schedules, "recurring_run_id", {**body, "max_concurrency": str(body["max_concurrency"])})
        return self._switch(new["recurring_run_id"], body.get("mode") == "ENABLE") and new

    def list_recurring_runs(self, **query: str) -> Record:
        return self._page(self.schedules, "recurringRuns", **query)

    def get_recurring_run(self, recurring_run_id: str) -> Record:
        return _get(self.schedules, recurring_run_id, "RecurringRun")

    def disable_recurring_run(self, recurring_run_id: str) -> Record:
        return self._switch(recurring_run_id, False) and {}

    def enable_recurring_run(self, recurring_run_id: str) -> Record:
        return self._switch(recurring_run_id, True) and {}

    def delete_recurring_run(self, recurring_run_id: str) -> Record:
        del self.schedules[_get(self.schedules, recurring_run_id, "RecurringRun")["recurring_run_id"]]
        return {}

    def _switch(self, schedule_id: str, on: bool) -> Record:
        found = _get(self.schedules, schedule_id, "RecurringRun")
        found.update({"status": "ENABLED", "mode": "ENABLE"} if on else {"status": "DISABLED", "mode": "DISABLE"})
        return found

    def _add(self, table: dict[str, Record], key: str, record: Record) -> Record:
        number = next(self._numbers)
        created = (_STARTED + timedelta(minutes=number)).isoformat().replace("+00:00", "Z")
        new = {**record, key: f"{key.removesuffix('_id')}-{number}", "created_at": created}
        table[new[key]] = new
        return new

    def _check_source(self, body: Record) -> None:
        """A run, or a schedule's, has an experiment, and a pipeline of its own or a version."""
        if not body.get("display_name"):
            raise Refused(400, "Run name is empty")
        _get(self.experiments, body.get("experiment_id", ""), "Experiment")
        spec, reference = body.get("pipeline_spec"), body.get("pipeline_version_reference")
        if (spec is None) == (reference is None):
            raise Refused(400, "Either a pipeline spec or a pipeline version is required")
        if spec is not None:
            _check_pipeline(spec.get("pipeline_spec", spec), spec.get("platform_spec"))
        else:
            version = _get(self.versions, reference.get("pipeline_version_id", ""), "PipelineVersion")
            if version["pipeline_id"] != reference.get("pipeline_id"):
                raise Refused(400, "The version belongs to another pipeline")

    def _check_namespace(self, namespace: str) -> None:
        if self.several_users and not namespace:
            raise Refused(400, "In multi-user mode, a namespace is required")
        if namespace and not self.several_users:
            raise Refused(400, "In single-user mode, a namespace cannot be given")

    def _check_free(self, table: dict[str, Record], record: Record) -> None:
        taken = {(one.get("namespace"), one["display_name"]) for one in table.values()}
        if (record.get("namespace"), record.get("display_name")) in taken:
            raise Refused(409, f"Already exist error: the name {record['display_name']} already exists")

    def _page(self, table: dict[str, Record], items: str, **query: str) -> Record:
        if "experiment_id" not in query and items != "pipeline_versions":
            self._check_namespace(query.get("namespace", ""))
        found = [one for one in table.values() if all(one.get(name) == value for name, value in _wanted(query).items())]
        field, _, direction = (query.get("sort_by") or "created_at").partition(" ")
        found.sort(key=lambda one: str(one[field]), reverse=direction == "desc")
        start = int(query.get("page_token") or 0)
        end = start + min(int(query.get("page_size") or 20), _PAGE_LIMIT)
        page: Record = {items: found[start:end], "total_size": len(found)}
        return {**page, "next_page_token": str(end)} if end < len(found) else page


def _tell(run: Record, chapter: Record) -> Record:
    """The run as it is now; its states are kept in a list, and its end in a field."""
    run.update(chapter)
    if "state_history" not in chapter:
        history = run.setdefault("state_history", [])
        if not history or history[-1]["state"] != run["state"]:
            history.append({"state": run["state"], "update_time": run["created_at"]})
    if run["state"] in _ENDED:
        run.setdefault("finished_at", run["created_at"])
    return run


def _wanted(query: dict[str, str]) -> Record:
    """What listed records must have: of the query, and of its filter."""
    wanted: Record = {name: query[name] for name in ("experiment_id",) if query.get(name)}
    if not query.get("filter"):
        return wanted
    told = json.loads(re.sub(r'"stringValue"', '"string_value"', query["filter"]))  # protobuf's JSON takes both
    assert all(one["operation"] in (1, "EQUALS") for one in told["predicates"]), "the others are not made here"
    return wanted | {predicate["key"]: predicate["string_value"] for predicate in told["predicates"]}


def _get(table: dict[str, Record], key: str, kind: str) -> Record:
    if key not in table:
        raise Refused(404, f"{kind} {key} not found")
    return table[key]


def _check_pipeline(pipeline: Record, platform: Record | None = None) -> None:
    """A pipeline is one by Kubeflow's own schema."""
    try:
        json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform or {}, pipeline_spec_pb2.PlatformSpec())
    except json_format.ParseError as error:
        raise Refused(400, f"Invalid pipeline spec: {error}") from error
