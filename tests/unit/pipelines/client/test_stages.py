"""The stage tasks of a run, found in the lists of tasks that a live server gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kfp_stub.server import KfpStub

from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import make_connection
from advantageflow_pipelines.client.runs import RunStatus, get_run
from advantageflow_pipelines.client.stages import from_cache, last_round, stage_tasks

Replay = Callable[[str], str]
LAST = {
    "killed-and-retried": ["prompts", "evaluation of the base", "round 1 rollout, shard 1", "round 1 reward, shard 1",
                           "round 1 rollout, shard 2", "round 1 reward, shard 2", "round 1 training",
                           "round 1 evaluation", "closing"],
    "api-server-away": ["prompts", "evaluation of the base", "round 1 rollout, shard 1", "round 1 rollout, shard 2",
                        "closing"],
    "cancelled-without-defaults": ["prompts", "evaluation of the base", "round 1 rollout, shard 1",
                                   "round 1 rollout, shard 2", "closing"],
    "no-training-runtime": ["prompts", "evaluation of the base", "round 1 rollout, shard 1", "round 1 rollout, shard 2",
                            "round 1 reward, shard 1", "round 1 reward, shard 2", "round 1 training", "closing"],
    "pending-for-a-gpu-then-cancelled": ["prompts", "closing"],
    "pod-deleted-and-retried": ["prompts", "evaluation of the base", "round 1 rollout, shard 2",
                                "round 1 rollout, shard 1", "round 1 reward, shard 2", "round 1 reward, shard 1",
                                "round 1 training", "round 1 evaluation", "closing"],
    "scheduled": ["prompts", "evaluation of the base", "round 1 rollout, shard 1", "round 1 reward, shard 1",
                  "round 1 training", "round 1 evaluation", "closing"],
    "ten-rounds-eight-shards-final": [
        "prompts", "evaluation of the base", "round 1 rollout, shard 1", "round 1 reward, shard 1",
        *(f"round 1 {stage}, shard {shard}" for stage in ("rollout", "reward") for shard in range(2, 9)),
        "round 1 training", "round 1 evaluation", "round 2 rollout, shard 4", "round 2 reward, shard 4",
        *(f"round 2 rollout, shard {shard}" for shard in (1, 2, 3, 5, 6, 7, 8))],
}  # fmt: skip


@pytest.fixture
def last_of(server: KfpStub, replayed: Replay) -> Callable[[str], RunStatus]:
    """A recorded run as it was in the end."""
    api = Api(make_connection(server.url))

    def last(name: str) -> RunStatus:
        run_id = replayed(name)
        server.state.stories[run_id] = server.state.stories[run_id][-1:]
        return get_run(api, run_id)

    return last


@pytest.mark.parametrize("recording", LAST)
def test_each_stage_task_is_found_once_by_round_and_shard(last_of: Callable[[str], RunStatus], recording: str) -> None:
    """With the attempts of the controller's defaults around every node, and without."""
    assert [task.name for task in stage_tasks(last_of(recording))] == LAST[recording]


def test_attempts_and_ends_are_those_of_the_containers(last_of: Callable[[str], RunStatus]) -> None:
    retried = {task.name: task for task in stage_tasks(last_of("killed-and-retried"))}
    assert {name: task.attempt for name, task in retried.items() if task.attempt > 1} == {"round 1 rollout, shard 2": 2}
    away = stage_tasks(last_of("api-server-away"))
    assert [task.name for task in away if task.error] == ["round 1 rollout, shard 1", "round 1 rollout, shard 2"]
    without_runtime = stage_tasks(last_of("no-training-runtime"))
    assert [task.name for task in without_runtime if task.error] == ["round 1 training"]
    for recording in ("cancelled-without-defaults", "pending-for-a-gpu-then-cancelled"):
        assert {task.how for task in stage_tasks(last_of(recording)) if task.error} == {"cancelled"}


def test_what_the_cache_gave_is_known_where_the_list_is_whole(last_of: Callable[[str], RunStatus]) -> None:
    cached = last_of("all-from-cache")
    assert {task.how for task in stage_tasks(cached)} == {"from the cache", ""}
    assert last_round(cached) == 2
    assert from_cache(cached)
    assert not from_cache(last_of("succeeded-list-frozen-final")), "the list does not show its end"


def test_without_its_pipeline_a_task_is_called_as_kubeflow_calls_it(
    last_of: Callable[[str], RunStatus], pipeline_spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline_spec, "root", {})
    monkeypatch.setitem(pipeline_spec, "components", {})
    names = [task.name for task in stage_tasks(last_of("scheduled"))]
    assert names == [
        "prompts",
        "evaluation",
        "rollout, shard 1",
        "reward, shard 1",
        "training",
        "evaluation-2",
        "closing",
    ]


def test_a_driver_that_failed_is_the_stage_that_never_began(
    last_of: Callable[[str], RunStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = last_of("stage-error")
    broken = [one for one in run.tasks if "prompts" not in one.name and one.name not in ("executor", "executor(0)")]
    driver = [one for one in run.tasks if one.name.startswith("prompts-driver")]
    failed = [type(one)(**{**vars(one), "state": "FAILED"}) for one in driver]
    tasks = stage_tasks(type(run)(**{**vars(run), "tasks": (*broken, *failed)}))
    assert [(task.name, task.error is not None) for task in tasks if task.stage != "closing"] == [("prompts", True)]
