"""What a planned run would take of Kubeflow, and whether it could finish there."""

from __future__ import annotations

from dataclasses import dataclass

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.client.fit import check_fits, fitted, growth, said
from advantageflow_pipelines.client.footprint import Footprint, footprint
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.placing.images import default_images

TASK = 20.0  # seconds, with Kubeflow Pipelines 2.17 as it is released; DEFAULT_REQUEUE_TIME=1s halves these
ROUND = 55.0  # of a round's rollout, reward and training in line, however many shards there are side by side
_ONCE = 2  # tasks in line: prompts and the last evaluation; the others run beside a round
_EACH = 2  # of each pipeline run: opening, and closing or the task that starts the next one


@dataclass(frozen=True)
class OnKubeflow:
    """What a run takes there: pipeline runs that continue each other, the largest of them, and both in words."""

    segments: int
    largest: Footprint
    words: str


def on_kubeflow(settings: RunSettings, resources: str | None = None) -> tuple[OnKubeflow | None, list[str]]:
    """What it takes with these resources, or those that suit it, and what speaks against it, each with a remedy.

    None where the settings fit no such resources. A run on one machine needs nothing of this.
    """
    try:
        run = cluster_run(settings, default_images(pipeline_of(settings)), resources)
    except SettingsError as error:
        return None, [f"on Kubeflow: {error.message}; {error.remedy}"]
    if pipeline_of(settings).handed:
        growing = growth(run)
        run = fitted(run, growing)
        taken = growing.of(max((one.last - one.first + 1 for one in run.segments), default=settings.rounds))
    else:
        taken = footprint(run.package())
    found = OnKubeflow(max(len(run.segments), 1), taken, said(run, taken))
    try:
        check_fits(run, taken)
    except SettingsError as error:
        return found, [f"{error.message}; {error.remedy}"]
    return found, []


def kubeflow_seconds(settings: RunSettings, segments: int = 1) -> float:
    """Seconds of a run on Kubeflow, in so many segments, in which no stage works; pulling images comes on top."""
    rounds = settings.rounds if pipeline_of(settings).sharded else 0
    one_round = ROUND - TASK if settings.rollout.scored else ROUND
    return rounds * one_round + (_ONCE + segments * _EACH) * TASK
