"""The pictures of a run: held-out samples before and after, and curves by round."""

from __future__ import annotations

from collections.abc import Iterable

from advantageflow.evaluation.pictures import contact_sheet, curves
from advantageflow.tracking.journal import Event
from advantageflow.tracking.reading import run_curves
from advantageflow_pipelines.results import read_report, report_folders
from advantageflow_pipelines.workdir import WorkDir

SHEET_FILE = "before-after.png"
CURVES_FILE = "curves.png"


def write_report(workdir: WorkDir, events: Iterable[Event]) -> None:
    """Draw the pictures of a complete run into its report folder.

    Args:
        workdir: the run.
        events: its journal's, for the curves that training told.
    """
    reports = report_folders(workdir)
    contact_sheet(reports[0], reports[max(reports)], workdir.report / SHEET_FILE)
    curves([read_report(folder) for folder in reports.values()], workdir.report / CURVES_FILE, run_curves(events))
