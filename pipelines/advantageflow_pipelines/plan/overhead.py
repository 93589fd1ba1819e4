"""What Kubeflow itself takes of a run's time, starting and ending tasks one after the other."""

from __future__ import annotations

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of

TASK = 20.0  # seconds, with Kubeflow Pipelines 2.17 as it is released; DEFAULT_REQUEUE_TIME=1s halves these
ROUND = 55.0  # of a round's rollout, reward and training in line, however many shards there are side by side
_ONCE = 2  # tasks in line: prompts and the last evaluation; the others run beside a round
_EACH = 2  # of each pipeline run: opening, and closing or the task that starts the next one


def kubeflow_seconds(settings: RunSettings, segments: int = 1) -> float:
    """Seconds of a run on Kubeflow in which no stage works; images that have to be pulled come on top.

    Args:
        settings: of the run.
        segments: pipeline runs that continue each other.
    """
    rounds = settings.rounds if pipeline_of(settings).sharded else 0
    return rounds * ROUND + (_ONCE + segments * _EACH) * TASK
