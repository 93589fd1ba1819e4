"""What a run has made so far: its policies and reports by round, found among the artifacts of its tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from advantageflow.errors import StoreError
from advantageflow.evaluation.report import BASE_FOLDER
from advantageflow.records import METRICS_FILE, PROMPTS_FILE, STATE_FILE
from advantageflow.settings import RunSettings
from advantageflow.store.files import read_json
from advantageflow.store.policies import read_policy_state
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import Output


def report_folders(workdir: WorkDir, settings: RunSettings) -> dict[int, Path]:
    """The report of each evaluated round (0: the base); of two of one round the later one."""
    files = _files(workdir, pipeline_of(settings).report, METRICS_FILE)
    return dict(sorted({int(read_json(path)["round"]): path.parent for path in files}.items()))


def compared_reports(workdir: WorkDir, settings: RunSettings) -> dict[str, Path]:
    """The reports that tell what a run came to: of the base, of its start if that is another policy, and the last."""
    reports = report_folders(workdir, settings)
    first, last = reports[0], reports[max(reports)]
    start, final = pipeline_of(settings).held_against
    if (first / BASE_FOLDER).exists():
        return {"base": first / BASE_FOLDER, start: first, final: last}
    return {"base": first, final: last}


def policy_folders(workdir: WorkDir, settings: RunSettings) -> dict[int, Path]:
    """The policy after each round (0: the one that the run started from)."""
    files = [path for output in pipeline_of(settings).policies for path in _files(workdir, output, STATE_FILE)]
    return dict(sorted({read_policy_state(path.parent).round: path.parent for path in files}.items()))


def check_whole(workdir: WorkDir, settings: RunSettings) -> None:
    """Raises StoreError where a report or a policy of a run that came to its end has lost the file it is known by."""
    pipeline = pipeline_of(settings)
    for output, name in ((pipeline.report, METRICS_FILE), *((one, STATE_FILE) for one in pipeline.policies)):
        for folder in _folders(workdir, output):
            if not (folder / name).exists():
                remedy = f"delete {folder.parent} and continue with: advantageflow run --resume {workdir.root}"
                raise StoreError("file not found", where=str(folder / name), remedy=remedy)


def prompts_folder(workdir: WorkDir, settings: RunSettings) -> Path | None:
    """The run's prompts; None while they are not made."""
    found = _files(workdir, pipeline_of(settings).prompts, PROMPTS_FILE)
    return found[-1].parent if found else None


def conditioning_folder(prompts: Path) -> Path:
    """What conditions the model for the prompts of this folder: an output of the same task."""
    return prompts.parent / "conditioning"


def read_report(folder: Path) -> dict[str, Any]:
    """The metrics of a report."""
    return read_json(folder / METRICS_FILE)


def _files(workdir: WorkDir, output: Output, name: str) -> list[Path]:
    """A file of each of an output's artifacts, in order of the attempts."""
    return [path for folder in _folders(workdir, output) if (path := folder / name).exists()]


def _folders(workdir: WorkDir, output: Output) -> list[Path]:
    """An output's artifacts, in order of the attempts; tasks are called NAME, or NAME-NUMBER."""
    found = workdir.artifacts.glob(f"*/{output.stage}*/{output.name}")
    task = re.compile(rf"{re.escape(output.stage)}(-\d+)?")
    return sorted(folder for folder in found if task.fullmatch(folder.parent.name))
