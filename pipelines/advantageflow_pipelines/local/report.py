"""What a run shows of itself at its end: one page with all of it, and its pictures as files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from advantageflow.evaluation.comparison import compare_reports
from advantageflow.evaluation.curves import draw_curves
from advantageflow.evaluation.page import PAGE_FILE, warned, write_page
from advantageflow.evaluation.pictures import sample_sheet
from advantageflow.settings import RunSettings
from advantageflow.tracking.events import Event
from advantageflow.tracking.reading import run_curves
from advantageflow_pipelines.local.results import read_report, report_folders
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines import pipeline_of

SHEET_FILE = "before-after.png"
CURVES_FILE = "curves.png"


def write_report(workdir: WorkDir, settings: RunSettings, events: Iterable[Event]) -> None:
    """Draw the pictures of a complete run into its report folder, and write the page that shows everything.

    Args:
        workdir: the run.
        settings: its settings.
        events: its journal's, for the curves that training told.
    """
    reports = report_folders(workdir, settings)
    metrics = {number: read_report(folder) for number, folder in reports.items()}
    last = max(reports)
    sample_sheet({"before": reports[0], "after": reports[last]}, workdir.report / SHEET_FILE, columns=3)
    draw_curves(list(metrics.values()), workdir.report / CURVES_FILE, run_curves(events))
    compared = {"base": reports[0], "final": reports[last]}
    write_page(
        workdir.report / PAGE_FILE,
        title=f"{workdir.root.name}: {pipeline_of(settings).describe(settings)}",
        facts={**_facts(settings), **warned(metrics[0])},
        comparison=compare_reports(compared),
        reports=compared,
        alarms=_alarms(metrics),
        figures=[("By round", workdir.report / CURVES_FILE)],
        details={"Settings of the run": _settings_text(workdir.settings_file)},
    )


def _facts(settings: RunSettings) -> dict[str, str]:
    evaluation = settings.evaluation
    return {
        "preset": settings.preset,
        "model": settings.model.name,
        "trained on": ", ".join(f"{term.name}.{term.column}" for term in settings.reward.terms),
        "seed": str(settings.seed),
        "rollouts": f"{settings.rounds} x {settings.rollout.prompts_per_round} x {settings.rollout.group_size}",
        "evaluated with": f"{evaluation.sampler}, {evaluation.steps} steps, guidance {evaluation.guidance_scale:g}",
    }


def _alarms(metrics: Mapping[int, Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(f"round {number}", a["message"]) for number, one in metrics.items() for a in one.get("alarms", ())]


def _settings_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
