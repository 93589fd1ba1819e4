"""What the rounds of a run cost: images generated, and seconds of useful work along the critical path."""

from __future__ import annotations

from collections.abc import Iterable

from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow.tracking.overhead import TaskTimes, overhead

_SHARDED = ("rollout", "reward")


def images_of_a_round(settings: RunSettings) -> int:
    """Rollouts that a round generates."""
    return settings.rollout.prompts_per_round * settings.rollout.group_size


def images_of_a_run(settings: RunSettings) -> int:
    """Rollouts that a run generates; the images of evaluations are not counted."""
    return settings.rounds * images_of_a_round(settings)


def useful_seconds(events: Iterable[Event]) -> dict[int, float]:
    """Seconds of useful work of each round: of its slowest shard (rollout and reward), then of its training.

    Start-up and evaluation are left out, so that the figure is what the algorithm itself costs, on any number of shards
    that run side by side. Of a task that was done twice, the later time counts.

    Args:
        events: a run's journal, of all attempts.
    """
    seconds: dict[tuple[int, str, int], float] = {}
    for task in sorted(overhead(events).tasks, key=lambda task: task.ended):
        if task.round is not None:
            seconds[(task.round, task.stage, task.shard or 0)] = _useful(task)
    rounds = sorted({number for number, stage, _ in seconds if stage == "training"})
    return {number: _slowest_shard(seconds, number) + seconds[(number, "training", 0)] for number in rounds}


def _slowest_shard(seconds: dict[tuple[int, str, int], float], number: int) -> float:
    shards = {shard for round_index, stage, shard in seconds if round_index == number and stage in _SHARDED}
    return max((sum(seconds.get((number, stage, shard), 0.0) for stage in _SHARDED) for shard in shards), default=0.0)


def _useful(task: TaskTimes) -> float:
    return task.ended - task.useful
