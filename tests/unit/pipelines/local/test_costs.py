"""What rounds cost: the slowest shard of rollout and reward, then training; evaluation and start-up left out."""

from __future__ import annotations

import pytest

from advantageflow.configure import load_settings
from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow_pipelines.configuration.counts import images_of_a_round, images_of_a_run
from advantageflow_pipelines.local.costs import useful_seconds
from advantageflow_pipelines.local.summary import comparable


def task(stage: str, number: int | None, shard: int | None, useful: float, ended: float) -> list[Event]:
    """A task whose process started 3 seconds before its useful work."""
    name = f"{stage}-{number}-{shard}-{ended}"
    return [
        {"task": name, "event": "start", "time": useful - 3, "stage": stage, "round": number, "shard": shard,
         "pid": 1, "process_started": useful - 3, "settings": {}},
        {"task": name, "event": "useful", "time": useful},
        {"task": name, "event": "end", "time": ended, "seconds": ended - useful + 3, "cpu_seconds": 1.0},
    ]  # fmt: skip


ROUND = [
    *task("prompts", None, None, 0, 5),
    *task("evaluation", 0, None, 10, 90),
    *task("rollout", 1, 0, 100, 104),
    *task("rollout", 1, 1, 100, 110),
    *task("reward", 1, 0, 120, 128),
    *task("reward", 1, 1, 120, 121),
    *task("training", 1, None, 130, 150),
    *task("evaluation", 1, None, 160, 190),
]


def test_a_round_takes_its_slowest_shard_and_its_training() -> None:
    assert useful_seconds(ROUND, RunSettings()) == {1: pytest.approx(max(4 + 8, 10 + 1) + 20)}


def test_of_a_task_that_was_done_twice_the_later_time_counts() -> None:
    again = task("training", 1, None, 230, 233)
    assert useful_seconds([*again, *ROUND], RunSettings())[1] == pytest.approx(12 + 3)


def test_a_round_without_training_is_not_counted_yet() -> None:
    assert list(useful_seconds([*ROUND, *task("rollout", 2, 0, 200, 210)], RunSettings())) == [1]


def test_equal_runs_are_comparable_whatever_their_rounds_took() -> None:
    one, other = ({"rounds": [{"generated": 24, "training_seconds": seconds}]} for seconds in (1.0, 2.0))
    assert comparable(one) == comparable(other) == {"rounds": [{"generated": 24}]}


def test_images_are_prompts_times_group_times_rounds() -> None:
    settings = load_settings("tiny", None, ["rounds=3"])
    assert (images_of_a_round(settings), images_of_a_run(settings)) == (24, 72)
