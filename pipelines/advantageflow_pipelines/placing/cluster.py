"""A run as a cluster gets it: settings, images and resources that fit each other, compiled to one pipeline, whose runs
fit on Kubeflow: one, or several that continue each other.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.client.footprint import LIMIT, Footprint, footprint
from advantageflow_pipelines.client.package import Package, compact, join
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import ROUND, Segment, divide
from advantageflow_pipelines.placing.images import default_images
from advantageflow_pipelines.placing.resources.files import load_resources
from advantageflow_pipelines.placing.resources.fit import default_resources, fit
from advantageflow_pipelines.placing.resources.stage_resources import Resources

CLOSE = 0.87  # share of the limit from which an estimate good to 15 % may be too little
ROOM = 0.67  # share of the limit up to which a run is one pipeline run
HALF = 0.5  # share of it that each of several may take
TASK_SECONDS = 20.0  # seconds, with Kubeflow Pipelines 2.17 as it is released; DEFAULT_REQUEUE_TIME=1s halves these

Growth = Callable[[int], Footprint]
"""What runs take that differ in rounds alone, by their rounds."""


@dataclass(frozen=True)
class ClusterRun:
    """What is compiled for a cluster."""

    settings: RunSettings  # with the processes and nodes that the resources give
    images: Mapping[str, str]  # container image of each stage
    resources: Resources  # with a number of GPUs for every stage, and the service account that the run is created with
    # the pipeline runs that continue each other, in a run that is too long for one; else empty
    segments: tuple[Segment, ...] = ()

    def package(self) -> Package:
        """The pipeline, compiled, with nothing in it twice."""
        from advantageflow_pipelines.pipelines.building import build_pipeline

        packages = {}
        for segment in self.segments or (None,):
            built = build_pipeline(self.settings, self.images, self.resources, segment=segment)
            packages[segment.rounds if segment else ""] = Package.of(built)
        return compact(join(packages))

    def with_settings(self, **changes: Any) -> Self:
        """The same run as a whole with other settings, such as `rounds=1` or `rollout={"shards": 2}`."""
        sections = {
            name: getattr(self.settings, name).model_copy(update=value) if isinstance(value, dict) else value
            for name, value in changes.items()
        }
        return replace(self, settings=self.settings.model_copy(update=sections), segments=())


def cluster_run(settings: RunSettings, images: Mapping[str, str], resources: str | None) -> ClusterRun:
    """The run that a person's options choose.
    Raises SettingsError: there are no such resources, or they do not fit the settings.

    Args:
        resources: preset or file; a preset that suits the settings' device when None.
    """
    given = load_resources(resources or default_resources(settings), pipeline_of(settings))
    settings, given = fit(settings, given)
    return ClusterRun(settings, images, given)


def growth(run: ClusterRun) -> Growth:
    """What a run takes, by its rounds: worked out on two of them, and compiled in a fraction of a second.
    Raises LookupError: its pipeline has no rounds of its own.
    """
    package = run.with_settings(rounds=2, evaluation={"every": 1}).package()
    last_evaluation = f"{pipeline_of(run.settings).report.stage}-3"

    def without(*names: str) -> Footprint:
        kept = package.with_tasks(lambda tasks: {name: task for name, task in tasks.items() if name not in names})
        return footprint(kept)

    whole, fewer, least = without(), without(last_evaluation), without(last_evaluation, f"{ROUND}02")
    evaluation, one_round = whole + fewer * -1, fewer + least * -1
    least, every = whole + one_round * -2 + evaluation * -3, run.settings.evaluation.every
    return lambda rounds: least + one_round * rounds + evaluation * (1 + -(-rounds // every))


def _rounds_within(growing: Growth, room: float) -> int:
    """The most rounds that take at most so many bytes; 0 if none do."""
    return next(rounds for rounds in itertools.count() if growing(rounds + 1).size > room)


def fitted(run: ClusterRun, growing: Growth | None = None) -> ClusterRun:
    """The run, in segments of about equal length if as a whole it takes more than two thirds of what Argo keeps; each
    takes at most half of it, if a round does.
    """
    if not pipeline_of(run.settings).handed:
        return run
    growing = growing or growth(run)
    if run.settings.rounds <= _rounds_within(growing, ROOM * LIMIT):
        return run
    return replace(run, segments=divide(run.settings.rounds, max(_rounds_within(growing, HALF * LIMIT), 1)))


def check_fits(run: ClusterRun, taken: Footprint) -> None:
    """Check that a run can finish.
    Raises SettingsError: Argo could not keep it to the end, or nearly not; the remedy is a run that can.

    Args:
        taken: its footprint, or its largest segment's.
    """
    if taken.size <= CLOSE * LIMIT:
        return
    message = f"this run cannot finish on Kubeflow: {taken}"
    raise SettingsError(message, where="rounds, rollout.shards", remedy=_remedy(run))


def said(run: ClusterRun, taken: Footprint) -> str:
    """What a run takes, in words; `taken` as above."""
    if not run.segments:
        return str(taken)
    longest = max(one.last - one.first + 1 for one in run.segments)
    return f"{len(run.segments)} pipeline runs that continue each other, of up to {longest} rounds, each {taken}"


def _remedy(run: ClusterRun) -> str:
    """In a segment of one round what is left to lower is its shards."""
    rounds = 1 if pipeline_of(run.settings).handed else run.settings.rounds
    shards = run.settings.rollout.shards

    def size(rounds: int, shards: int) -> int:
        return footprint(run.with_settings(rounds=rounds, rollout={"shards": shards}).package()).size

    def within(number: int, smallest: int, largest: int) -> int:
        """The most of them that fit; 0 if not even one does. What a run takes grows evenly."""
        if number == 1 or smallest > CLOSE * LIMIT:
            return 0
        return min(number - 1, 1 + int((number - 1) * (CLOSE * LIMIT - smallest) / (largest - smallest)))

    whole = size(rounds, shards)
    if fewer := within(shards, size(rounds, 1), whole):
        return f"make fewer, larger shards: --set rollout.shards={fewer}"
    fewer = within(rounds, size(1, shards), whole)
    return f"run {fewer or 'fewer'} rounds, and go on from the policy that they end with in the next run: --init-policy"


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
        taken = growing(max((one.last - one.first + 1 for one in run.segments), default=settings.rounds))
    else:
        taken = footprint(run.package())
    found = OnKubeflow(max(len(run.segments), 1), taken, said(run, taken))
    try:
        check_fits(run, taken)
    except SettingsError as error:
        return found, [f"{error.message}; {error.remedy}"]
    return found, []
