"""A comparison from its plan to its pictures: checked, run, summed up, drawn."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from advantageflow.store.files import writing
from advantageflow.tracking.provenance import provenance
from advantageflow_experiments.compare.cells import Cell, check_fairness, make_cells, with_choices
from advantageflow_experiments.compare.comparison import CellResult, Comparison, write_comparison
from advantageflow_experiments.compare.folder import Folder, create_folder
from advantageflow_experiments.compare.plan import Plan, load_plan
from advantageflow_experiments.compare.runner import cores, default_jobs, run_cells, threads_of
from advantageflow_experiments.compare.table import show_table
from advantageflow_pipelines.configuration.checks import check_run
from advantageflow_pipelines.local.workdir import WorkDir, locked
from advantageflow_pipelines.pipelines.work import images_of_a_run
from advantageflow_pipelines.say import say, warn

_INTERRUPTED = 130  # what shells report for Ctrl-C


def prepare(
    name: str, assignments: Sequence[str], seeds: Sequence[int] | None, variants: Sequence[str] | None, out: Path | None
) -> tuple[Folder, Plan, list[Cell]]:
    """Check a plan and all its runs, then make the comparison's folder.
    Raises UserError: the plan, a setting, or something that a run reads is wrong, or the comparison would not be fair;
    nothing was written.

    Args:
        name: of the plan, or its file.
        assignments, seeds, variants: what the command line says, see `with_choices`.
        out: a new or empty folder; None chooses one.
    """
    short, plan = load_plan(name)
    plan = with_choices(plan, assignments, seeds, variants)
    cells = make_cells(plan, experiment=short)
    of_one_seed = cells[: len(plan.named_variants())]
    check_fairness(plan, of_one_seed)
    for cell in of_one_seed:
        check_run(cell.settings)
    return create_folder(out, short, plan, cells), plan, cells


def run(console: Console, folder: Folder, plan: Plan, cells: Sequence[Cell], jobs: int | None) -> None:
    """Run what is not done yet, then write, draw and show what was found.

    Args:
        jobs: runs at once; None takes as many as the cores allow.

    Raises:
        RunFailed: a run failed; says why and how to continue.
        StoreError: another process runs this comparison, or a file cannot be written.
        SystemExit: it was interrupted; all that was started has been ended.
    """
    jobs = jobs or default_jobs(cells, cores())
    _introduce(console, folder, plan, cells, jobs)
    for sign in (signal.SIGTERM, signal.SIGHUP):  # a polite kill and a closed terminal end it as Ctrl-C does
        signal.signal(sign, signal.default_int_handler)
    try:
        with writing(folder.root), locked(WorkDir(folder.root)):
            _finish(console, folder, plan, cells, run_cells(console, folder, cells, jobs))
    except KeyboardInterrupt:
        say(console, f"stopped; continue with: advantageflow compare --resume {folder.root}")
        sys.exit(_INTERRUPTED)


def _introduce(console: Console, folder: Folder, plan: Plan, cells: Sequence[Cell], jobs: int) -> None:
    images = images_of_a_run(cells[0].settings)
    seeds = "1 seed" if len(plan.seeds) == 1 else f"{len(plan.seeds)} seeds"
    runs = f"{len(cells)} runs: {len(plan.named_variants())} variants x {seeds}"
    say(console, plan.title, f"{runs}, {images:,} images each, {jobs} at once", f"folder: {folder.root}")
    threads = max(threads_of(cell.settings) for cell in cells)
    if jobs > 1 and jobs * threads > cores():
        warn(console, f"{jobs} runs of {threads} thread(s) share {cores()} cores, so each takes longer than alone")


def _finish(console: Console, folder: Folder, plan: Plan, cells: Sequence[Cell], results: Sequence[CellResult]) -> None:
    from advantageflow_experiments.compare.pictures import draw

    comparison = Comparison(
        name=cells[0].settings.tracking.experiment, plan=plan, images=images_of_a_run(cells[0].settings),
        versions=provenance(), cells=tuple(results),
    )  # fmt: skip
    write_comparison(folder.results_file, comparison)
    table, *pictures = draw(comparison, folder.root)
    show_table(console, comparison)
    uneven = comparison.uneven_starts()
    if uneven is not None:
        warn(console, uneven)
    say(
        console,
        f"results:  {folder.results_file}",
        f"table:    {table}",
        f"pictures: {', '.join(file.name for file in pictures)} in {folder.root}",
        f"all runs: advantageflow ui --runs {folder.runs}  (experiment {comparison.name})",
    )
