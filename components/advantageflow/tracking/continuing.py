"""Continuing a run that is too long for one pipeline run: its last task starts another one for the rounds that follow.

The pipeline holds what each of its segments does as a component; a segment is that component as the root of the same
pipeline. What a segment hands on stays where it is: the next one imports it by its address.

Kubeflow knows of no connection between them, so a schedule's next run finds out itself whether an earlier one goes on.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode

from advantageflow.annotations import MlflowClient
from advantageflow.errors import ClusterError
from advantageflow.tracking.kubeflow import API_ENV, ENDED, ask
from advantageflow.tracking.lifecycle import on_pipeline_run
from advantageflow.tracking.pipeline_run import PIPELINE_RUN_ENV, find_or_open

FIRST_RUN = "first_run"  # parameter of all segments but the first: the first one's pipeline run
_SEGMENT = "segment-"
_WAITS = (5, 15, 30, 60, 120, 240)  # seconds between tries at an API server that is away, as when it is updated
_SECONDS = 60.0  # for an answer
_PASSING = (408, 429, 500, 502, 503, 504)
_REMEDY = (
    "see infra/README.md, 'Long runs'; what this run made is kept, and `advantageflow runs retry` goes on from there"
)

Json = dict[str, Any]
T = TypeVar("T")


def component_of(rounds: str) -> str:
    """Name of the component that holds a segment, such as 'segment-6-10' of rounds '6-10'."""
    return f"{_SEGMENT}{rounds}"


def is_segment(component: str) -> bool:
    """Whether a component holds a segment, by its name."""
    return component.startswith(_SEGMENT)


def parameter_of(artifact: str) -> str:
    """Name of the parameter that tells a segment the address of what it is handed."""
    return f"{artifact}_uri"


def whole_name(name: str) -> str:
    """The name of a run, by that of one of its segments: 'mine' by 'mine (rounds 6-10)'."""
    return re.sub(r" \(rounds [0-9-]+\)$", "", name)


def continue_run(rounds: str, handed: Mapping[str, str], told: Mapping[str, str] = MappingProxyType({})) -> None:
    """Start the pipeline run of the rounds that follow this task's, once only, and hand the run in MLflow over to it.
    Raises ClusterError: the API server stays away for minutes, or refuses.

    Args:
        rounds: the first and the last of them, such as '6-10'.
        handed: address of each artifact by name.
        told: further parameters.
    """
    own = os.environ[PIPELINE_RUN_ENV]
    given = {parameter_of(name): uri for name, uri in handed.items()} | dict(told)
    first, started = _patiently(lambda: _start(own, rounds, given), f"does not start rounds {rounds}")
    print(f"rounds {rounds} are the pipeline run {started}", file=sys.stderr, flush=True)

    def hand_over(client: MlflowClient, tracking_uri: str, pipeline: str) -> str:
        run = find_or_open(client, tracking_uri, started, {}, first)
        return f"the run '{run.info.run_name}' goes on in pipeline run {started}"

    on_pipeline_run(hand_over, "the next segment finds the run in MLflow by itself")


def still_going() -> str | None:
    """The name and id of what goes on of an earlier run of the schedule that started this pipeline run; None if nothing
    does, and for a run that no schedule started.
    Raises ClusterError: the API server stays away for minutes, or refuses.

    Archived runs do not count.
    """
    own = os.environ[PIPELINE_RUN_ENV]
    return _patiently(lambda: _going_before(own), "does not say whether an earlier run of the schedule goes on")


def _going_before(own: str) -> str | None:
    run = ask(f"runs/{own}", seconds=_SECONDS)
    schedule = run.get("recurring_run_id")
    if not schedule:
        return None
    going: dict[str, str] = {}
    earlier: set[str] = set()
    for one in _runs(experiment_id=run["experiment_id"], sort_by="created_at desc"):
        name = whole_name(one["display_name"])  # of a schedule's runs no two have the same
        if one.get("state") not in ENDED and one.get("storage_state") != "ARCHIVED":
            going.setdefault(name, f"'{one['display_name']}' (run {one['run_id']})")
        # Of two that began at once the later one ends, not both.
        if one.get("recurring_run_id") == schedule and _began(one) < _began(run):
            earlier.add(name)
    return next((said for name, said in going.items() if name in earlier), None)


def _began(run: Json) -> tuple[str, str]:
    return run["created_at"], run["run_id"]


def _patiently(work: Callable[[], T], refusal: str) -> T:
    """What the API server gives, asked again while it is away; `refusal` is what it does not do."""
    for wait in (*_WAITS, None):
        try:
            return work()
        except HTTPError as error:
            if error.code not in _PASSING:
                answer = f"{error.code} {error.read().decode(errors='replace')[:300]}"
                raise ClusterError(f"Kubeflow {refusal}: {answer}", remedy=_REMEDY) from error
            reason = str(error)
        except (OSError, HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
        if wait is not None:
            print(f"Kubeflow's API server is away ({reason}); trying again in {wait} s", file=sys.stderr, flush=True)
            time.sleep(wait)
    raise ClusterError(f"Kubeflow {refusal}: its API server is away ({reason})", where=API_ENV, remedy=_REMEDY)


def _start(own: str, rounds: str, told: Mapping[str, str]) -> tuple[str, str]:
    """The ids of the first segment's pipeline run, and of that of these rounds: started now, or by an earlier try."""
    run = ask(f"runs/{own}", seconds=_SECONDS)
    config = run.get("runtime_config") or {}
    given = config.get("parameters") or {}
    first = given.get(FIRST_RUN, own)
    name = f"{whole_name(run['display_name'])} (rounds {rounds})"
    there = _find(run["experiment_id"], name, first)
    if there is not None:
        return first, there
    new = {
        **{field: run[field] for field in ("experiment_id", "description", "service_account") if run.get(field)},
        "display_name": name,
        "pipeline_spec": _segment(_spec_of(run), component_of(rounds)),
        "runtime_config": {**config, "parameters": {**given, FIRST_RUN: first, **told}},
    }
    return first, str(ask("runs", new, seconds=_SECONDS)["run_id"])


def _find(experiment: str, name: str, first: str) -> str | None:
    """The pipeline run that continues the first one under this name; None if there is none yet."""
    named = {"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]}
    for listed in _runs(experiment_id=experiment, filter=json.dumps(named)):
        run = ask(f"runs/{listed['run_id']}", seconds=_SECONDS)  # a list need not tell parameters
        if ((run.get("runtime_config") or {}).get("parameters") or {}).get(FIRST_RUN) == first:
            return str(run["run_id"])
    return None


def _runs(**query: str) -> Iterator[Json]:
    """The runs that a list has, fetched as they are wanted."""
    while True:
        page = ask(f"runs?{urlencode({**query, 'page_size': 100})}", seconds=_SECONDS)
        yield from page.get("runs") or []
        if not page.get("next_page_token"):
            return
        query["page_token"] = page["next_page_token"]


def _spec_of(run: Json) -> Json:
    """The pipeline of a run: its own, or of the version that a schedule runs."""
    if run.get("pipeline_spec"):
        return dict(run["pipeline_spec"])
    version = run["pipeline_version_reference"]
    path = f"pipelines/{version['pipeline_id']}/versions/{version['pipeline_version_id']}"
    return dict(ask(path, seconds=_SECONDS)["pipeline_spec"])


def _segment(spec: Json, component: str) -> Json:
    """The pipeline with one of its components as the root."""
    pipeline = spec.get("pipeline_spec", spec)
    pipeline = {**pipeline, "root": pipeline["components"][component]}
    return {**spec, "pipeline_spec": pipeline} if "pipeline_spec" in spec else pipeline
