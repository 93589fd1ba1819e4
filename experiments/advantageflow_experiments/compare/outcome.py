"""What the run of a cell has come to: complete, diverged, or not at its end; read from its working folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advantageflow.errors import DataError
from advantageflow.evaluation.labels import soft_label, strict_label
from advantageflow.tracking.reading import read_events
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.comparison import CellResult
from advantageflow_pipelines.local.summary import base_entry, read_summary, round_entries
from advantageflow_pipelines.local.tasks import Task, Tasks
from advantageflow_pipelines.local.workdir import WorkDir, seconds_of_earlier_attempts

_KINDS = ("TrainingError", "PolicyError")
_WORD = "diverged"


def read_result(workdir: WorkDir, cell: Cell) -> CellResult | None:
    """What the run of a cell came to; None where there is something left to do.

    Raises:
        DataError: it diverged before even the base model was evaluated.
    """
    summary = read_summary(workdir)
    if summary is not None:
        return _result(cell, summary["base"], summary["rounds"], summary["seconds"])
    task = _diverged_task(workdir)
    if task is None:
        return None
    base, number, error = base_entry(workdir, cell.settings), task.round_index or 0, task.error or {}
    reason = f"{task.name}: {error['message']}" + (f" ({error['where']})" if error["where"] else "")
    if base is None:
        message = f"{cell.name} cannot even be evaluated: {reason}"
        remedy = "start from a policy whose weights are finite (init_policy), or from the base model"
        raise DataError(message, where=str(workdir.root), remedy=remedy)
    finite = [entry for entry in round_entries(workdir, cell.settings) if entry["round"] < number]
    seconds = seconds_of_earlier_attempts(workdir)
    return _result(cell, base, finite, seconds, diverged_round=number, reason=reason)


def _diverged_task(workdir: WorkDir) -> Task | None:
    """The task in which the run diverged; None if it did not, or was continued since.

    A stage that finds a loss, weight or latent that is not finite fails with TrainingError or PolicyError and says
    'diverged'. Equal seeds give equal bits, so trying again would end the same way.
    """
    events = read_events(workdir.journal)
    failed = [task for task in Tasks(events).failed() if _tells_divergence(task)]
    last = max(failed, key=lambda task: task.ended or 0.0, default=None)
    if last is None or any(event["event"] == "start" and event["time"] > (last.ended or 0.0) for event in events):
        return None
    return last


def _tells_divergence(task: Task) -> bool:
    error = task.error or {}
    return error.get("kind") in _KINDS and _WORD in f"{error.get('message')} {error.get('remedy')}"


def _result(
    cell: Cell, base: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]], seconds: float, **divergence: Any
) -> CellResult:
    return CellResult.model_validate(
        {
            "variant": cell.variant,
            "seed": cell.seed,
            "points": [base, *rounds],
            "seconds": seconds,
            "strict_label": strict_label(base),
            "soft_label": soft_label(base),
            **divergence,
        }
    )
