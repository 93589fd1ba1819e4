"""What a run has made so far: its policies and reports by round, found among the artifacts of its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advantageflow.records import METRICS_FILE, PROMPTS_FILE, STATE_FILE
from advantageflow.store.files import read_json
from advantageflow_pipelines.local.workdir import WorkDir


def report_folders(workdir: WorkDir) -> dict[int, Path]:
    """The report of each evaluated round (0: the base)."""
    return _by_round(workdir, f"evaluation*/report/{METRICS_FILE}")


def policy_folders(workdir: WorkDir) -> dict[int, Path]:
    """The policy after each round (0: the one that the run started from)."""
    start = _by_round(workdir, f"prompts*/policy/{STATE_FILE}")
    return start | _by_round(workdir, f"training*/new_policy/{STATE_FILE}")


def prompts_folder(workdir: WorkDir) -> Path | None:
    """The run's prompts; None while they are not made."""
    return max((path.parent for path in workdir.artifacts.glob(f"*/prompts*/prompts/{PROMPTS_FILE}")), default=None)


def conditioning_folder(prompts: Path) -> Path:
    """What conditions the model for the prompts of this folder: an output of the same task."""
    return prompts.parent / "conditioning"


def read_report(folder: Path) -> dict[str, Any]:
    """The metrics of a report."""
    return read_json(folder / METRICS_FILE)


def _by_round(workdir: WorkDir, pattern: str) -> dict[int, Path]:
    """Artifacts by the round in their JSON; of two of one round the later one, as attempts sort by time."""
    paths = sorted(workdir.artifacts.glob(f"*/{pattern}"))
    found = {int(read_json(path)["round"]): path.parent for path in paths}
    return dict(sorted(found.items()))
