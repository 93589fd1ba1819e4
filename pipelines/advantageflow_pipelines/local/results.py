"""What a run has made so far: its policies and reports by round, found among the artifacts of its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advantageflow.records import METRICS_FILE, PROMPTS_FILE, STATE_FILE
from advantageflow.store.files import read_json
from advantageflow.store.policies import read_policy_state
from advantageflow_pipelines.local.workdir import WorkDir


def report_folders(workdir: WorkDir) -> dict[int, Path]:
    """The report of each evaluated round (0: the base); of two of one round the later, as attempts sort by time."""
    paths = sorted(workdir.artifacts.glob(f"*/evaluation*/report/{METRICS_FILE}"))
    return dict(sorted({int(read_json(path)["round"]): path.parent for path in paths}.items()))


def policy_folders(workdir: WorkDir) -> dict[int, Path]:
    """The policy after each round (0: the one that the run started from)."""
    files = [
        sorted(workdir.artifacts.glob(f"*/{made}/{STATE_FILE}")) for made in ("prompts*/policy", "training*/new_policy")
    ]
    return dict(sorted({read_policy_state(file.parent).round: file.parent for one in files for file in one}.items()))


def prompts_folder(workdir: WorkDir) -> Path | None:
    """The run's prompts; None while they are not made."""
    return max((path.parent for path in workdir.artifacts.glob(f"*/prompts*/prompts/{PROMPTS_FILE}")), default=None)


def read_report(folder: Path) -> dict[str, Any]:
    """The metrics of a report."""
    return read_json(folder / METRICS_FILE)
