"""A comparison from its plan to its pictures: checked, run, summed up, drawn, recorded in MLflow."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from advantageflow.errors import TrackingError
from advantageflow_experiments.compare.cells import Cell, make_cells, with_choices
from advantageflow_experiments.compare.fairness import check_fairness, check_metrics
from advantageflow_experiments.compare.folder import Folder, create_folder, open_folder
from advantageflow_experiments.compare.plan import Plan
from advantageflow_experiments.compare.plan_files import load_plan
from advantageflow_experiments.compare.progress import CompareProgress
from advantageflow_experiments.compare.records import CellResult, read_comparison, write_comparison
from advantageflow_experiments.compare.results import make_comparison, uneven_starts
from advantageflow_experiments.compare.runner import cores, default_jobs, run_cells, threads_of
from advantageflow_experiments.compare.table import show_table
from advantageflow_pipelines.configuration.checks import check_run
from advantageflow_pipelines.configuration.counts import images_of_a_run
from advantageflow_pipelines.local.workdir import WorkDir, locked

_INTERRUPTED = 130  # what shells report for Ctrl-C
_POLITE_KILLS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Prepared:
    """A comparison that may be run: all its settings are valid and its folder is there."""

    folder: Folder
    plan: Plan
    cells: list[Cell]


def prepare(
    name: str,
    assignments: Sequence[str],
    seeds: Sequence[int] | None,
    variants: Sequence[str] | None,
    out: Path | None,
) -> Prepared:
    """Check a plan and all its runs, then make the comparison's folder.

    Args:
        name: of the plan, or its file.
        assignments: texts 'a.b=value' for all variants.
        seeds: instead of the plan's; None leaves them.
        variants: those of the plan that run; None takes all.
        out: a new or empty folder; None chooses one.

    Raises:
        UserError: the plan, a setting, or something that a run reads is wrong, or the comparison would not be fair;
            nothing was written.
    """
    short, plan = load_plan(name)
    plan = with_choices(plan, assignments, seeds, variants)
    cells = make_cells(plan, experiment=short)
    of_one_seed = cells[: len(plan.named_variants())]
    check_fairness(of_one_seed, unequal_images=plan.unequal_images)
    check_metrics(plan, of_one_seed)
    for cell in {_what_it_reads(cell): cell for cell in of_one_seed}.values():
        check_run(cell.settings)
    return Prepared(create_folder(out, short, plan, cells), plan, cells)


def reopen(path: Path) -> Prepared:
    """A comparison that was started before, as it was planned then.

    Raises:
        UserError: there is none in this folder, or its files are damaged.
    """
    return Prepared(*open_folder(path))


def run(console: Console, prepared: Prepared, jobs: int | None) -> None:
    """Run what is not done yet, then write, draw, record and show what was found.

    Args:
        jobs: runs at once; None takes as many as the cores allow.

    Raises:
        RunFailed: a run failed; says why and how to continue.
        StoreError: another process runs this comparison, or a file cannot be written.
        SystemExit: it was interrupted; all that was started has been ended.
    """
    folder, cells = prepared.folder, prepared.cells
    jobs = jobs or default_jobs(cells, cores())
    _introduce(console, prepared, jobs)
    try:
        with _ended_as_by_ctrl_c(), locked(WorkDir(folder.root)):
            with CompareProgress(console, folder, len(cells), jobs) as progress:
                results = run_cells(folder, cells, jobs, progress)
            _finish(console, prepared, results)
    except KeyboardInterrupt:
        console.print(
            f"stopped; continue with: advantageflow compare --resume {folder.root}", markup=False, soft_wrap=True
        )
        sys.exit(_INTERRUPTED)


def redraw(console: Console, path: Path) -> None:
    """Draw a finished comparison's table and pictures again, from comparison.json alone.

    Raises:
        UserError: there is no comparison.json in this folder, or it is damaged.
    """
    from advantageflow_experiments.compare.pictures import draw

    folder = Folder(path.absolute())
    for file in draw(read_comparison(folder.results_file), folder):
        console.print(str(file), highlight=False, markup=False, soft_wrap=True)


def _introduce(console: Console, prepared: Prepared, jobs: int) -> None:
    plan, cells = prepared.plan, prepared.cells
    images = sorted({images_of_a_run(cell.settings) for cell in cells})
    counts = " to ".join(f"{count:,}" for count in (images[0], images[-1])[: len(images)])
    seeds = "1 seed" if len(plan.seeds) == 1 else f"{len(plan.seeds)} seeds"
    lines = [
        plan.title,
        f"{len(cells)} runs: {len(plan.named_variants())} variants x {seeds}, {counts} images each, {jobs} at once",
        f"folder: {prepared.folder.root}",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    threads = max(threads_of(cell.settings) for cell in cells)
    if jobs > 1 and jobs * threads > cores():
        _warn(console, f"{jobs} runs of {threads} thread(s) share {cores()} cores, so each takes longer than alone")


def _finish(console: Console, prepared: Prepared, results: Sequence[CellResult]) -> None:
    from advantageflow_experiments.compare.pictures import draw
    from advantageflow_experiments.compare.tracking import publish

    folder = prepared.folder
    comparison = make_comparison(prepared.plan, prepared.cells, results)
    write_comparison(folder.results_file, comparison)
    files = draw(comparison, folder)
    show_table(console, comparison)
    uneven = uneven_starts(comparison)
    if uneven is not None:
        _warn(console, uneven)
    try:
        publish(comparison, folder, [*files, folder.results_file])
    except TrackingError as failure:
        _warn(console, f"MLflow does not have all of this comparison. {failure}")
    lines = [
        f"results:  {folder.results_file}",
        f"table:    {folder.table_file}",
        f"pictures: {', '.join(file.name for file in files[1:])} in {folder.root}",
        f"all runs: advantageflow ui --runs {folder.runs}  (experiment {comparison.name})",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _what_it_reads(cell: Cell) -> str:
    """Equal for runs that check_run has the same to say of."""
    settings = cell.settings
    parts = (settings.model, settings.prompts, settings.reward)
    texts = [part.model_dump_json() for part in parts]
    return "".join([*texts, str(settings.init_policy), str(settings.rollout.prompts_per_round)])


def _warn(console: Console, message: str) -> None:
    console.print(f"[yellow]warning:[/yellow] {escape(message)}", highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """While the block runs, a polite kill and a closed terminal end it as Ctrl-C does."""
    before = {sign: signal.signal(sign, _interrupt) for sign in _POLITE_KILLS}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
