"""What a run costs: useful work of its rounds, start-up and evaluation left out; overhead along the critical path."""

from __future__ import annotations

import pytest

from advantageflow.configure import load_settings
from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow_pipelines.local.tasks import cost_table, measure_overhead, stage_costs, useful_seconds
from advantageflow_pipelines.pipelines.definition import images_of_a_round, images_of_a_run


def task(
    stage: str,
    number: int | None,
    shard: int | None,
    useful: float | None,
    ended: float | None,
    started: float | None = None,
) -> list[Event]:
    """A task whose process started 3 seconds before its useful work."""
    began = started if started is not None else (useful or 0.0) - 3
    name = f"{stage}-{number}-{shard}-{began}"
    events: list[Event] = [
        {
            "task": name,
            "event": "start",
            "time": began,
            "stage": stage,
            "round": number,
            "shard": shard,
            "pid": 1,
            "process_started": began,
            "settings": {},
        }
    ]
    events += [{"task": name, "event": "useful", "time": useful}] if useful is not None else []
    events += [{"task": name, "event": "end", "time": ended}] if ended is not None else []
    return events  # fmt: skip


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


def test_images_are_prompts_times_group_times_rounds() -> None:
    settings = load_settings("tiny", None, ["rounds=3"])
    assert (images_of_a_round(settings), images_of_a_run(settings)) == (24, 72)


SIDE_BY_SIDE = [
    *task("rollout", 1, 0, 1.0, 5.0, started=0.0),
    *task("rollout", 1, 1, 1.5, 6.0, started=0.0),
    *task("reward", 1, 0, 5.6, 5.7, started=5.1),
    *task("reward", 1, 1, 6.5, 6.6, started=6.1),
    *task("training", 1, None, 7.25, 9.0, started=7.0),
]
QUEUED = [
    *task("rollout", 1, 0, 1.0, 5.0, started=0.0),
    *task("rollout", 1, 1, 1.0, 5.2, started=0.0),
    *task("rollout", 1, 2, 6.3, 9.0, started=5.3),
]


@pytest.mark.parametrize(
    ("events", "stages"),
    [
        (SIDE_BY_SIDE, {"rollout": 1.5, "reward": 0.4, "training": 0.25}),
        (QUEUED, {"rollout": 2.0}),
        (task("reward", 1, None, None, 3.0, started=1.0), {"reward": 2.0}),
        (task("rollout", 1, None, 1.0, None, started=0.0), {}),
        ([], {}),
    ],
    ids=["of shards side by side the one waited for", "shards that queue", "never useful", "unfinished", "nothing"],
)
def test_overhead_is_the_time_of_the_critical_path_before_useful_work(
    events: list[Event], stages: dict[str, float]
) -> None:
    cost = measure_overhead(events, started=0.0, ended=10.0)
    assert cost["stages"] == pytest.approx(stages)
    assert cost["seconds"] == pytest.approx(sum(stages.values()))


def test_what_no_task_of_the_critical_path_covers_lies_between_tasks() -> None:
    cost = measure_overhead(SIDE_BY_SIDE, started=0.0, ended=10.0)
    assert cost["between_tasks"] == pytest.approx(0.1 + 0.4 + 1.0)
    assert cost["share"] == pytest.approx((1.5 + 0.4 + 0.25 + 1.5) / 10)


def test_overhead_of_a_continued_run_leaves_earlier_attempts_out() -> None:
    events = task("rollout", 1, None, 5, 10, started=2) + task("training", 1, None, 102, 109, started=101)
    cost = measure_overhead(events, started=100, ended=110)
    assert cost["stages"] == {"training": 1}
    assert (cost["seconds"], cost["between_tasks"], cost["of_seconds"]) == (1, 2, 10)


def test_costs_are_summed_by_stage_and_by_point_gained_in_money_too() -> None:
    def timed(name: str, stage: str, seconds: float, device: str, **cost: int) -> list[Event]:
        settings = {"model": {"device": device}, "settings": {"processes": 4 if stage == "training" else 1}}
        start = {"task": name, "event": "start", "stage": stage, "round": 1, "shard": None, "time": 0.0}
        end = {"task": name, "event": "end", "time": seconds, "seconds": seconds, **cost}
        return [start | {"process_started": 0.0, "settings": settings}, end]

    events = [
        *timed("a", "rollout", 100.0, "cuda", peak_memory=5, bytes_written=10),
        *timed("b", "rollout", 50.0, "cuda", peak_memory=9, bytes_written=20),
        *timed("c", "training", 200.0, "cuda", bytes_read=30),
        *timed("d", "prompts", 10.0, "cpu"),
    ]
    costs = stage_costs(events)
    assert [costs[name]["gpu_seconds"] for name in ("rollout", "training", "prompts", "total")] == [150, 800, 0, 950]
    assert (costs["rollout"]["tasks"], costs["rollout"]["peak_memory"], costs["rollout"]["bytes_written"]) == (2, 9, 30)
    head, *_, total, by_point = cost_table(costs, gain=0.1, price=3.6)
    assert total[head.index("money")] == "0.95"
    assert (by_point[head.index("GPU-seconds")], by_point[head.index("money")]) == ("95", "0.10")
    assert "money" not in cost_table(costs, gain=-0.1, price=None)[0]
