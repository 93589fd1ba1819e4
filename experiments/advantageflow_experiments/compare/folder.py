"""The folder of a comparison: plan, settings and run of every cell, results; made new or opened again."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advantageflow.errors import SettingsError, StoreError
from advantageflow.store.files import writing
from advantageflow_experiments.compare.cells import Cell, cell_name
from advantageflow_experiments.compare.plan import Plan
from advantageflow_experiments.compare.plan_files import read_plan, write_plan
from advantageflow_pipelines.configuration.checks import disk_needed
from advantageflow_pipelines.configuration.choices import read_settings, write_settings
from advantageflow_pipelines.local.workdir import DEFAULT_RUNS, WorkDir


@dataclass(frozen=True)
class Folder:
    """Paths of a comparison, all under `root`."""

    root: Path

    @property
    def plan_file(self) -> Path:
        """The plan with what the command line changed."""
        return self.root / "plan.yaml"

    @property
    def runs(self) -> Path:
        """Working folders of the cells, and their MLflow store."""
        return self.root / "runs"

    @property
    def results_file(self) -> Path:
        return self.root / "comparison.json"

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

    Args:
        path: a new or empty folder; None makes one under the runs, named after plan and time.
        name: the plan's short name.

    Raises:
        StoreError: the folder is not empty or cannot be written, or the disk has no room for all runs.
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

    Raises:
        SettingsError: there is no comparison in this folder, or a file in it cannot be read.
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
