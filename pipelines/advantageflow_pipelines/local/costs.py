"""What the rounds of a run cost: seconds of useful work along the critical path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow.tracking.overhead import TaskTimes, overhead
from advantageflow_pipelines.pipelines import pipeline_of

_Seconds = dict[tuple[int, str, int], float]  # by round, stage and shard


def useful_seconds(events: Iterable[Event], settings: RunSettings) -> dict[int, float]:
    """Seconds of useful work of each round: of its slowest shard (rollout and reward), then of its training.

    Start-up and evaluation are left out, so that the figure is what the algorithm itself costs, on any number of shards
    that run side by side. Of a task that was done twice, the later time counts.

    Args:
        events: a run's journal, of all attempts.
        settings: of the run.
    """
    pipeline = pipeline_of(settings)
    ending = [output.stage for output in pipeline.policies]
    seconds: _Seconds = {}
    for task in sorted(overhead(events).tasks, key=lambda task: task.ended):
        if task.round is not None:
            seconds[(task.round, task.stage, task.shard or 0)] = _useful(task)
    last = {number: spent for (number, stage, _), spent in seconds.items() if stage in ending}
    return {number: _slowest_shard(seconds, number, pipeline.sharded) + last[number] for number in sorted(last)}


def _slowest_shard(seconds: _Seconds, number: int, stages: Sequence[str]) -> float:
    shards = {shard for round_index, stage, shard in seconds if round_index == number and stage in stages}
    return max((sum(seconds.get((number, stage, shard), 0.0) for stage in stages) for shard in shards), default=0.0)


def _useful(task: TaskTimes) -> float:
    return task.ended - task.useful
