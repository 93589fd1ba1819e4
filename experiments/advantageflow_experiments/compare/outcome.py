"""What the run of a cell has come to: complete, diverged, or not at its end; read from its working folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advantageflow.errors import DataError
from advantageflow.evaluation.labels import soft_label, strict_label
from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow.tracking.reading import read_events
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.records import CellResult, Measured, Point
from advantageflow_pipelines.local.summary import base_entry, read_summary, round_entries
from advantageflow_pipelines.local.tasks import Task, Tasks
from advantageflow_pipelines.local.workdir import WorkDir, seconds_of_earlier_attempts

_KINDS = ("TrainingError", "PolicyError")
_WORD = "diverged"


@dataclass(frozen=True)
class Divergence:
    """A run that went numerically wrong: in which round, and how it said so."""

    round_index: int
    reason: str


def is_settled(workdir: WorkDir) -> bool:
    """Whether there is nothing left to do: the run is complete, or has diverged."""
    return workdir.summary_file.exists() or divergence(workdir) is not None


def divergence(workdir: WorkDir) -> Divergence | None:
    """How the run diverged; None if it did not.

    A stage that finds a loss, weight or latent that is not finite fails with TrainingError or PolicyError and says
    'diverged'. Equal seeds give equal bits, so trying again would end the same way.
    """
    events = read_events(workdir.journal)
    failed = [task for task in Tasks(events).failed() if _tells_divergence(task.error or {})]
    if not failed:
        return None
    task = max(failed, key=lambda task: task.ended or 0.0)
    if any(event["event"] == "start" and event["time"] > (task.ended or 0.0) for event in events):
        return None  # it was continued since
    return Divergence(task.round_index or 0, _in_words(task))


def read_result(workdir: WorkDir, cell: Cell) -> CellResult:
    """The result of a settled run.

    Raises:
        DataError: it is not settled, or has not even evaluated the base model.
    """
    summary, diverged = read_summary(workdir), divergence(workdir)
    if summary is not None:
        points = _points(summary["base"], summary["rounds"])
        return CellResult(
            variant=cell.variant, seed=cell.seed, status="complete", points=points, seconds=summary["seconds"],
            strict_label=strict_label(summary["base"]), soft_label=soft_label(summary["base"]),
            policy_sha256=summary["policy_sha256"], mlflow_run_id=summary["mlflow_run_id"],
        )  # fmt: skip
    base = base_entry(workdir, cell.settings)
    if diverged is None:
        remedy = "continue the comparison with --resume"
        raise DataError(f"the run of {cell.name} has not ended", where=str(workdir.root), remedy=remedy)
    if base is None:
        remedy = "start from a policy whose weights are finite (init_policy), or from the base model"
        raise DataError(f"{cell.name} cannot even be evaluated: {diverged.reason}", where=str(workdir.root),
                        remedy=remedy)  # fmt: skip
    return CellResult(
        variant=cell.variant, seed=cell.seed, status="diverged",
        diverged_round=diverged.round_index, reason=diverged.reason,
        strict_label=strict_label(base), soft_label=soft_label(base),
        points=_points(base, _before(workdir, cell.settings, diverged)), seconds=seconds_of_earlier_attempts(workdir),
    )  # fmt: skip


def _before(workdir: WorkDir, settings: RunSettings, diverged: Divergence) -> list[dict[str, Any]]:
    """The rounds whose policies were finite."""
    return [entry for entry in round_entries(workdir, settings) if entry["round"] < diverged.round_index]


def _points(base: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> tuple[Point, ...]:
    start = {"round": 0, "generated": 0, "training_seconds": 0.0, **base}
    return tuple(_point(entry) for entry in (start, *rounds))


def _point(entry: Mapping[str, Any]) -> Point:
    terms = {
        name: Measured(mean=term["mean"], ci95=tuple(term["ci95"]), higher_is_better=term.get("higher_is_better", True))
        for name, term in entry.get("terms", {}).items()
    }
    return Point(
        round=entry["round"],
        generated=entry["generated"],
        training_seconds=entry["training_seconds"],
        images=entry["images"],
        strict=entry["strict"],
        strict_ci95=tuple(entry["strict_ci95"]),
        soft=entry["soft"],
        tasks=entry["tasks"],
        terms=terms,
    )


def _tells_divergence(error: Event) -> bool:
    return error.get("kind") in _KINDS and _WORD in f"{error.get('message')} {error.get('remedy')}"


def _in_words(task: Task) -> str:
    error = task.error or {}
    return f"{task.name}: {error['message']}" + (f" ({error['where']})" if error["where"] else "")
