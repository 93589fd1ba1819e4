"""A comparison from its plan to its pictures: checked, run, summed up, drawn, recorded in MLflow."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from advantageflow.errors import TrackingError
from advantageflow.store.files import writing
from advantageflow.tracking.mlflow_store import experiment_id, log_params, open_client, tracking_errors
from advantageflow.tracking.provenance import provenance
from advantageflow_experiments.compare.cells import Cell, cell_name, check_fairness, make_cells, with_choices
from advantageflow_experiments.compare.comparison import (
    CellResult,
    Comparison,
    final,
    read_comparison,
    useful_seconds,
    write_comparison,
)
from advantageflow_experiments.compare.folder import Folder, create_folder
from advantageflow_experiments.compare.plan import Plan, load_plan
from advantageflow_experiments.compare.runner import cores, default_jobs, run_cells, threads_of
from advantageflow_experiments.compare.table import show_table
from advantageflow_pipelines.configuration.checks import check_run
from advantageflow_pipelines.local.tracking import tracking_uri
from advantageflow_pipelines.local.workdir import WorkDir, locked
from advantageflow_pipelines.pipelines.work import images_of_a_run
from advantageflow_pipelines.say import say, warn

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric


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
    """Run what is not done yet, then write, draw, record and show what was found.

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


def redraw(console: Console, path: Path) -> None:
    """Draw a finished comparison's table and pictures again, from comparison.json alone.
    Raises UserError: there is no comparison.json in this folder, or it is damaged.
    """
    from advantageflow_experiments.compare.pictures import draw

    folder = Folder(path.absolute())
    say(console, *map(str, draw(read_comparison(folder.results_file), folder.root)))


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
    from advantageflow_experiments.compare.workflow import publish

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
    try:
        publish(comparison, folder, [table, *pictures, folder.results_file])
    except TrackingError as failure:
        warn(console, f"MLflow does not have all of this comparison. {failure}")
    say(
        console,
        f"results:  {folder.results_file}",
        f"table:    {table}",
        f"pictures: {', '.join(file.name for file in pictures)} in {folder.root}",
        f"all runs: advantageflow ui --runs {folder.runs}  (experiment {comparison.name})",
    )


def publish(comparison: Comparison, folder: Folder, files: Sequence[Path]) -> None:
    """Record a complete comparison in the store and experiment that its runs are in.
    Raises TrackingError: MLflow failed.

    Every run gets the tags `comparison`, `variant` and `seed`. One more run, named after the comparison, holds each
    variant's mean accuracy (metric `accuracy/<variant>`, the step is the number of images), its final figures, and
    `files` (table, pictures, comparison.json); done again, it is renewed.
    """
    uri, name = tracking_uri(WorkDir(folder.root), folder.runs), folder.root.name
    client = open_client(uri)
    home = experiment_id(client, uri, comparison.name)
    with tracking_errors(uri):
        for cell in comparison.cells:
            tags = {"comparison": name, "variant": cell.variant, "seed": str(cell.seed)}
            for run in _runs_of(client, home, folder.runs / cell_name(cell.variant, cell.seed)):
                for tag, value in tags.items():
                    client.set_tag(run, tag, value)
        own = _own_run(client, home, comparison, folder.root)
        plan = comparison.plan
        log_params(client, own, {"title": plan.title, "preset": plan.preset, "seeds": list(plan.seeds)})
        for variant in comparison.labels:
            client.log_batch(own, metrics=_metrics(comparison, variant))
        for file in files:
            client.log_artifact(own, str(file))
        client.set_terminated(own)


def _own_run(client: MlflowClient, home: str, comparison: Comparison, root: Path) -> str:
    """The comparison's run, of an earlier time or a new one."""
    found = _runs_of(client, home, root)
    if found:
        return found[0]
    tags = {"comparison": root.name, "workdir": str(root), "mlflow.note.content": comparison.plan.title}
    run = client.create_run(home, tags=tags | comparison.versions, run_name=f"comparison {root.name}")
    return str(run.info.run_id)


def _runs_of(client: MlflowClient, home: str, root: Path) -> list[str]:
    """Ids of the runs that are recorded with this folder."""
    return [str(run.info.run_id) for run in client.search_runs([home], f'tags.workdir = "{root}"')]


def _metrics(comparison: Comparison, variant: str) -> list[Metric]:
    from mlflow.entities import Metric

    ended = comparison.over(variant, final)
    low, high = (ended and ended.ci95) or (None, None)
    means = {
        "strict": ended,
        "soft": comparison.over(variant, lambda run: run.last.soft),
        "difference": comparison.against(variant, final),
        "course": comparison.over(variant, comparison.course),
        "course_difference": comparison.against(variant, comparison.course),
        "training_seconds": comparison.over(variant, useful_seconds),
    }
    told = {name: None if one is None else one.mean for name, one in means.items()}
    told |= {"strict_low": low, "strict_high": high, "diverged": len(comparison.diverged(variant))}
    now = int(1000 * time.time())
    curve = comparison.curve(variant, "by_images")
    return [
        *(Metric(f"accuracy/{variant}", one.accuracy.mean, now, round(one.x)) for one in curve),
        *(Metric(f"final/{variant}/{name}", value, now, 0) for name, value in told.items() if value is not None),
    ]
