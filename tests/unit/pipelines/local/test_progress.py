"""How a run shows itself, by the events of its journal."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from advantageflow.tracking.events import Event
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local import display
from advantageflow_pipelines.local.display import RunProgress, TaskDisplay
from advantageflow_pipelines.local.tasks import CANCELLED, FROM_CACHE, Task, Tasks

METRICS: dict[int, dict[str, Any]] = {0: {"strict": 0.25, "soft": 0.5}, 2: {"strict": 0.375, "soft": 0.625}}


SETTINGS = choose_settings(preset="tiny", rounds=2, assignments=["evaluation.every=2"])


def task_events(task: str, stage: str, round_index: int | None, shard: int | None = None) -> list[Event]:
    """The life of a task that takes three seconds, one of them before its useful work."""
    common = {"task": task}
    return [
        {**common, "event": "start", "time": 100.5, "stage": stage, "round": round_index, "shard": shard, "pid": 1,
         "process_started": 100.0, "settings": {}},
        {**common, "event": "useful", "time": 101.0},
        {**common, "event": "progress", "time": 102.0, "done": 3, "total": 8, "unit": "images"},
        {**common, "event": "end", "time": 103.0, "seconds": 3.0, "cpu_seconds": 2.0},
    ]  # fmt: skip


def error_event(task: str) -> Event:
    return {"task": task, "event": "error", "time": 102.5, "kind": "RewardError", "message": "no score",
            "where": "reward 'r'", "remedy": "mend it", "traceback": None}  # fmt: skip


def shown(events: list[Event], *, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None, legacy_windows=False)
    with RunProgress(console, SETTINGS, METRICS.__getitem__, started=time.time()) as progress:
        for event in events:
            progress.show(event)
    return out.getvalue()


def test_without_a_terminal_each_ended_task_is_a_line() -> None:
    lines = shown(task_events("a", "rollout", 1, 0) + task_events("b", "training", 2)).splitlines()
    assert lines == ["  0:00  round 1 rollout, shard 1: 3.0 s", "  0:00  round 2 training: 3.0 s"]


def test_each_evaluated_round_is_a_line_with_accuracy_reward_and_seconds() -> None:
    text = shown(task_events("a", "evaluation", 0) + task_events("b", "evaluation", 2))
    assert "base: strict accuracy 0.250, soft reward 0.500, 0 s" in text
    assert "round 2/2: strict accuracy 0.375, soft reward 0.625, 0 s" in text


def test_a_reward_without_strict_column_is_called_by_the_column_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    column = {"strict_column": "compressibility", "soft_column": "compressibility"}
    monkeypatch.setitem(METRICS, 0, {"strict": -1.25, "soft": -1.25, **column})
    text = shown(task_events("a", "evaluation", 0))
    assert "base: compressibility -1.250, 0 s" in text
    assert "strict" not in text


def test_several_terms_are_shown_beside_accuracy_and_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = {
        "shapes.soft": {"mean": 0.5, "reward": "shapes", "column": "soft"},
        "jpeg.compressibility": {"mean": -1.25, "reward": "jpeg", "column": "compressibility"},
    }
    monkeypatch.setitem(METRICS, 0, {**METRICS[0], "terms": terms})
    text = shown(task_events("a", "evaluation", 0))
    assert "base: strict accuracy 0.250, soft reward 0.500, jpeg.compressibility -1.250, 0 s" in text


def test_a_round_without_evaluation_shows_the_reward_of_its_rollouts() -> None:
    start, *_, end = task_events("a", "training", 1)
    told = {
        "task": "a",
        "event": "metrics",
        "time": 102.0,
        "step": 1,
        "parent": True,
        "values": {"reward/soft_mean": 0.5},
    }
    assert "round 1/2: reward of its rollouts 0.500, 0 s" in shown([start, told, end])


def test_on_a_terminal_only_rounds_leave_lines_and_running_tasks_are_bars() -> None:
    text = shown(task_events("a", "evaluation", 0)[:3] + task_events("b", "training", 2)[:3], terminal=True)
    assert "evaluation of the base" in text
    assert "3/8" in text
    ended = shown(task_events("b", "training", 2) + task_events("a", "evaluation", 2), terminal=True)
    assert "round 2 training: 3.0 s" not in ended
    assert "round 2/2: strict accuracy 0.375" in ended


@pytest.mark.parametrize("terminal", [False, True])
def test_an_alarm_is_a_line_at_once(terminal: bool) -> None:
    start, *_ = task_events("a", "evaluation", 2)
    told = {"task": "a", "event": "alarm", "time": 102.0, "name": "sharpness_drop", "message": "[it] fell", "step": 2}
    assert "alarm: [it] fell" in shown([start, told], terminal=terminal)
    warned = {"task": "a", "event": "warning", "time": 102.0, "message": "3 texts [are] cut"}
    assert "warning: 3 texts [are] cut" in shown([start, warned], terminal=terminal)


def test_a_failed_task_is_shown_as_failed_and_an_interrupted_one_as_cancelled() -> None:
    begun, error = task_events("a", "reward", 1, 1)[:2], error_event("a")
    assert "round 1 reward, shard 2 failed" in shown([*begun, error])
    assert "round 1 reward, shard 2: cancelled" in shown([*begun, {**error, "kind": "KeyboardInterrupt"}])


def test_what_was_not_a_task_s_own_work_is_said_and_attempts_are_lines() -> None:
    out = io.StringIO()
    cached = Task("a", "rollout", 1, 0, started=0.0, ended=0.0, how=FROM_CACHE)
    lost = Task("b", "rollout", 1, 1, started=0.0, ended=4.0, error={"event": "error", "message": ""})
    with TaskDisplay(Console(file=out, width=100), started=0.0) as tasks:
        for task in (cached, cached, lost, replace(lost, attempt=2, ended=None, error=None)):
            tasks.update(task)
        tasks.update(replace(lost, attempt=2, how=CANCELLED))
    assert [line.strip().partition("  ")[2] for line in out.getvalue().splitlines()] == [
        "round 1 rollout, shard 1: from the cache",
        "round 1 rollout, shard 2 failed",
        "round 1 rollout, shard 2: attempt 2",
        "round 1 rollout, shard 2: cancelled",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_how_far_a_long_task_is_is_a_bar_or_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(display, "REMIND_SECONDS", 0.0)
    text = shown(task_events("a", "training", 1)[:3], terminal=terminal)
    assert ("round 1 training: 3 of 8 images" in text) == (not terminal)
    assert terminal == ("3/8" in text)


def test_events_of_a_task_whose_start_was_not_seen_are_passed_over() -> None:
    assert shown(task_events("a", "rollout", 1)[1:]) == ""


def test_tasks_know_what_runs_what_ended_and_what_failed() -> None:
    events = [
        *task_events("a", "rollout", 1, 0),
        *task_events("b", "rollout", 1, 1)[:3],
        *task_events("c", "reward", 1)[:1],
    ]
    tasks = Tasks([*events, error_event("c")])
    assert [task.name for task in tasks.running()] == ["round 1 rollout, shard 2"]
    assert [task.name for task in tasks.failed()] == ["round 1 reward"]
    assert (tasks.running()[0].done, tasks.running()[0].total) == (3, 8)


@pytest.mark.parametrize(
    ("stage", "round_index", "name"),
    [("prompts", None, "prompts"), ("evaluation", 0, "evaluation of the base"), ("training", 3, "round 3 training")],
)
def test_tasks_are_called_what_a_person_calls_them(stage: str, round_index: int | None, name: str) -> None:
    task = Tasks().apply(task_events("a", stage, round_index)[0])
    assert task is not None
    assert task.name == name
