"""Overhead of a run, measured from its journal events."""

from __future__ import annotations

import pytest

from advantageflow.tracking.events import Event
from advantageflow.tracking.overhead import overhead


def task(
    stage: str, started: float, useful: float | None, ended: float | None, shard: int | None = None
) -> list[Event]:
    name = f"{stage}-{shard}-{started}"
    events: list[Event] = [
        {"task": name, "event": "start", "time": started + 0.1, "process_started": started, "stage": stage, "round": 1,
         "shard": shard}
    ]  # fmt: skip
    events += [{"task": name, "event": "useful", "time": useful}] if useful is not None else []
    events += [{"task": name, "event": "end", "time": ended}] if ended is not None else []
    return events


def test_tasks_in_sequence_add_up() -> None:
    measured = overhead(task("prompts", 0.0, 2.0, 3.0) + task("training", 3.5, 4.5, 9.0))
    assert measured.seconds == pytest.approx(3.0)
    assert [found.stage for found in measured.critical] == ["prompts", "training"]
    assert measured.by_stage() == {"prompts": pytest.approx(2.0), "training": pytest.approx(1.0)}


def test_of_shards_side_by_side_the_one_that_was_waited_for_counts() -> None:
    events = task("rollout", 0.0, 1.0, 5.0, shard=0) + task("rollout", 0.0, 1.5, 6.0, shard=1)
    events += task("reward", 5.1, 5.6, 5.7, shard=0) + task("reward", 6.1, 6.5, 6.6, shard=1)
    events += task("training", 7.0, 7.25, 9.0)
    measured = overhead(events)
    assert measured.seconds == pytest.approx(1.5 + 0.4 + 0.25)
    assert [(found.stage, found.shard) for found in measured.critical] == [
        ("rollout", 1), ("reward", 1), ("training", None),
    ]  # fmt: skip
    assert len(measured.tasks) == 5


def test_shards_that_queued_behind_each_other_add_up() -> None:
    events = task("rollout", 0.0, 1.0, 5.0, shard=0) + task("rollout", 0.0, 1.0, 5.2, shard=1)
    events += task("rollout", 5.3, 6.3, 9.0, shard=2)
    assert overhead(events).seconds == pytest.approx(2.0)


def test_a_task_that_never_said_useful_is_overhead_all_through() -> None:
    assert overhead(task("reward", 1.0, None, 3.0)).seconds == pytest.approx(2.0)


def test_unfinished_tasks_and_an_empty_journal_count_nothing() -> None:
    assert overhead([]).seconds == 0.0
    assert overhead(task("rollout", 0.0, 1.0, None)).tasks == ()
