"""The folder of a comparison, made new or opened again, and what the run of each cell in it has come to."""

import datetime
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from advantageflow.errors import DataError, SettingsError, StoreError
from advantageflow.evaluation.labels import soft_label, strict_label
from advantageflow.evaluation.pictures import paired_samples
from advantageflow.store.files import writing
from advantageflow.tracking.events import read_events
from advantageflow.watch.images import diversity, thumbnail
from advantageflow_experiments.compare.cells import Cell, cell_name
from advantageflow_experiments.compare.comparison import CellResult
from advantageflow_experiments.compare.plan import Plan, read_plan, write_plan
from advantageflow_pipelines.configuration.checks import disk_needed
from advantageflow_pipelines.configuration.choices import read_settings, write_settings
from advantageflow_pipelines.local.summary import read_summary, reported, round_entries
from advantageflow_pipelines.local.tasks import Task, Tasks
from advantageflow_pipelines.local.workdir import DEFAULT_RUNS, WorkDir, read_report, seconds_of_earlier_attempts

_DIVERGENCE = ("TrainingError", "PolicyError")  # whose words say 'diverged'


class Folder:
    """Paths of a comparison, all under `root`.

    Attributes:
        plan_file: the plan with what the command line changed.
        runs: working folders of the cells, and their MLflow store.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plan_file = root / "plan.yaml"
        self.runs = root / "runs"
        self.results_file = root / "comparison.json"

    def settings_file(self, cell: str) -> Path:
        """The settings that a cell is started with."""
        return self.root / "settings" / f"{cell}.yaml"

    def log_file(self, cell: str) -> Path:
        """What a cell's command printed, in its last attempt."""
        return self.root / "logs" / f"{cell}.log"

    def workdir(self, cell: Cell) -> WorkDir:
        """The cell's working folder."""
        return WorkDir(self.runs / cell.name)


def create_folder(path: Path | None, name: str, plan: Plan, cells: Sequence[Cell]) -> Folder:
    """Make the folder of a new comparison and write its plan and the settings of all cells there.
    Raises StoreError: the folder is not empty or cannot be written, or the disk has no room for all runs.

    Args:
        path: a new or empty folder; None makes one under the runs, named after plan and time.
    """
    folder = Folder((path or DEFAULT_RUNS / f"compare-{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}").absolute())
    root = folder.root
    with writing(root):
        if root.is_file() or (root.is_dir() and any(root.iterdir())):
            there = f"continue it with: advantageflow compare --resume {root}; or " if folder.plan_file.exists() else ""
            raise StoreError("is not an empty folder", where=str(root), remedy=f"{there}give a new folder to --out")
        _check_room(root, cells)
        for part in ("runs", "settings", "logs"):
            (root / part).mkdir(parents=True, exist_ok=True)
        for cell in cells:
            write_settings(folder.settings_file(cell.name), cell.settings)
        write_plan(folder.plan_file, plan)  # last: its presence says that the folder is whole
    return folder


def open_folder(path: Path) -> tuple[Folder, Plan, list[Cell]]:
    """A comparison's folder, plan and cells, as they were written when it was started.
    Raises SettingsError: there is no comparison in this folder, or a file in it cannot be read.
    """
    folder = Folder(path.absolute())
    if not folder.plan_file.is_file():
        remedy = "give the folder of an earlier comparison (it holds plan.yaml)"
        raise SettingsError("holds no comparison", where=str(path), remedy=remedy)
    plan = read_plan(folder.plan_file, str(folder.plan_file))
    pairs = [(variant, seed) for seed in plan.seeds for variant in plan.named_variants()]
    cells = [Cell(variant, read_settings(folder.settings_file(cell_name(variant, seed)))) for variant, seed in pairs]
    return folder, plan, cells


def _check_room(root: Path, cells: Sequence[Cell]) -> None:
    there = next(place for place in (root, *root.parents) if place.exists())
    free, needed = shutil.disk_usage(there).free, sum(disk_needed(cell.settings) for cell in cells)
    if free < needed:
        message = f"the disk has {free / 1e6:,.0f} MB free, the {len(cells)} runs need about {needed / 1e6:,.0f} MB"
        remedy = "free some space, choose another disk with --out, or compare fewer seeds"
        raise StoreError(message, where=str(root), remedy=remedy)


def read_result(workdir: WorkDir, cell: Cell) -> CellResult | None:
    """What the run of a cell came to; None where there is something left to do.
    Raises DataError: it diverged before even the base model was evaluated.
    """
    summary = read_summary(workdir)
    if summary is not None:
        return _result(workdir, cell, summary.get("start", summary["base"]), summary["rounds"], summary["seconds"])
    task = _diverged_task(workdir)
    if task is None:
        return None
    report, number, error = workdir.reports().get(0), task.round_index or 0, task.error or {}
    reason = f"{task.name}: {error['message']}" + (f" ({error['where']})" if error["where"] else "")
    if report is None:
        message = f"{cell.name} cannot even be evaluated: {reason}"
        remedy = "start from a policy whose weights are finite (init_policy), or from the base model"
        raise DataError(message, where=str(workdir.root), remedy=remedy)
    finite = [entry for entry in round_entries(workdir) if entry["round"] < number]
    seconds = seconds_of_earlier_attempts(workdir)
    return _result(workdir, cell, reported(read_report(report)), finite, seconds, diverged_round=number, reason=reason)


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
    return error.get("kind") in _DIVERGENCE and "diverged" in f"{error.get('message')} {error.get('remedy')}"


def _result(
    workdir: WorkDir,
    cell: Cell,
    base: Mapping[str, Any],
    rounds: Sequence[Mapping[str, Any]],
    seconds: float,
    **divergence: Any,
) -> CellResult:
    points = [{**base, "round": 0}, *rounds]
    if cell.settings.reward.watched:
        reports = workdir.reports()
        points = [{**point, "statistics": _statistics(reports[0], reports[point["round"]])} for point in points]
    return CellResult.model_validate(
        {
            "variant": cell.variant, "seed": cell.seed, "points": points, "seconds": seconds,
            "strict_label": strict_label(base), "soft_label": soft_label(base), **divergence,
        }
    )  # fmt: skip


def _statistics(base: Path, report: Path) -> dict[str, float]:
    """Means over the images of a report, and how far its fixed pictures are from those of the base model."""
    shown = paired_samples({"base": base, "now": report})
    apart = [
        diversity([thumbnail(np.asarray(one)) for _, one in pair]) if base != report else 0.0
        for pair in zip(*shown.values(), strict=True)
    ]
    means = {name: one["mean"] for name, one in read_report(report)["statistics"].items()}
    return {**means, "distance from the base": fmean(apart)}
