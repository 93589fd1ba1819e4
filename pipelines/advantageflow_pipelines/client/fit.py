"""How a run fits on Kubeflow: in one pipeline run, or in several that continue each other."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.footprint import LIMIT, Footprint, footprint
from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import ROUND
from advantageflow_pipelines.pipelines.segments import divide

if TYPE_CHECKING:
    from advantageflow_pipelines.placing.cluster import ClusterRun

CLOSE = 0.87  # share of the limit from which an estimate good to 15 % may be too little
ROOM = 0.67  # share of the limit up to which a run is one pipeline run
HALF = 0.5  # share of it that each of several may take


@dataclass(frozen=True)
class Growth:
    """What runs take that differ in rounds alone: it grows evenly.

    Attributes:
        least: a run without rounds.
        round: of each round.
        evaluation: of each evaluation.
        every: rounds between two evaluations.
    """

    least: Footprint
    round: Footprint
    evaluation: Footprint
    every: int

    def of(self, rounds: int) -> Footprint:
        """What a run of so many rounds takes."""
        evaluations = 1 + -(-rounds // self.every)
        return _sum(self.least, _times(self.round, rounds), _times(self.evaluation, evaluations))

    def rounds_within(self, room: float) -> int:
        """The most rounds that take at most so many bytes; 0 if none do."""
        rounds = 0
        while self.of(rounds + 1).size <= room:
            rounds += 1
        return rounds


def growth(run: ClusterRun) -> Growth:
    """What a run takes, by its rounds: worked out on two of them, and compiled in a fraction of a second.

    Raises:
        LookupError: its pipeline has no rounds of its own.
    """
    package = run.with_settings(rounds=2, evaluation={"every": 1}).package()
    stage = pipeline_of(run.settings).report.stage
    whole = footprint(package)
    without_evaluation = footprint(_without(package, f"{stage}-3"))
    without_round = footprint(_without(package, f"{stage}-3", f"{ROUND}02"))
    evaluation, one_round = _less(whole, without_evaluation), _less(without_evaluation, without_round)
    least = _less(whole, _sum(_times(one_round, 2), _times(evaluation, 3)))
    return Growth(least, one_round, evaluation, run.settings.evaluation.every)


def fitted(run: ClusterRun, growing: Growth | None = None) -> ClusterRun:
    """The run, in segments of about equal length if as a whole it takes more than two thirds of what Argo keeps; each
    takes at most half of it, if a round does.

    Args:
        run: as a whole.
        growing: its growth, if that is known.
    """
    if not pipeline_of(run.settings).handed:
        return run
    growing = growing or growth(run)
    if run.settings.rounds <= growing.rounds_within(ROOM * LIMIT):
        return run
    return replace(run, segments=divide(run.settings.rounds, max(growing.rounds_within(HALF * LIMIT), 1)))


def check_fits(run: ClusterRun, taken: Footprint) -> None:
    """Check that a run can finish.

    Args:
        run: what is sent.
        taken: its footprint, or its largest segment's.

    Raises:
        SettingsError: Argo could not keep it to the end, or nearly not; the remedy is a run that can.
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

    def size(number: int) -> int:
        return footprint(run.with_settings(rounds=rounds, rollout={"shards": number}).package()).size

    smallest, largest = size(1), size(shards)
    room = CLOSE * LIMIT
    if smallest > room or shards == 1:
        return "run fewer rounds, and continue from the last policy with --init-policy in the next run"
    fewer = min(shards - 1, 1 + int((shards - 1) * (room - smallest) / (largest - smallest)))
    return f"make fewer, larger shards: --set rollout.shards={fewer}"


def _without(package: Package, *names: str) -> Package:
    """The pipeline without tasks of these names."""
    components = {name: _part_without(part, names) for name, part in package.pipeline["components"].items()}
    root = _part_without(package.pipeline["root"], names)
    return replace(package, pipeline={**package.pipeline, "root": root, "components": components})


def _part_without(part: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    if "dag" not in part:
        return part
    tasks = {name: task for name, task in part["dag"]["tasks"].items() if name not in names}
    return {**part, "dag": {**part["dag"], "tasks": tasks}}


def _sum(*parts: Footprint) -> Footprint:
    return Footprint(*(sum(values) for values in zip(*map(astuple, parts), strict=True)))


def _times(part: Footprint, number: int) -> Footprint:
    return Footprint(*(number * value for value in astuple(part)))


def _less(part: Footprint, other: Footprint) -> Footprint:
    return _sum(part, _times(other, -1))
