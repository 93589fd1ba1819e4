"""What Kubeflow itself takes of a run's time, starting and ending tasks one after the other."""

from __future__ import annotations

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of

TASK = 20.0  # seconds, with Kubeflow Pipelines 2.17 as it is released; DEFAULT_REQUEUE_TIME=1s halves these
ROUND = 55.0  # of a round's rollout, reward and training in line, however many shards there are side by side
_IN_LINE = 4  # opening, prompts, last evaluation, closing: other evaluations run beside a round


def kubeflow_seconds(settings: RunSettings) -> float:
    """Seconds of a run on Kubeflow in which no stage works; images that have to be pulled come on top."""
    rounds = settings.rounds if pipeline_of(settings).sharded else 0
    return rounds * ROUND + _IN_LINE * TASK
