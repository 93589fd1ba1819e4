"""A comparison from its plan to its pictures: checked, its cells run several at once as `advantageflow run`, drawn."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID

from advantageflow.settings import RunSettings
from advantageflow.store.files import writing
from advantageflow.tracking.provenance import provenance
from advantageflow_experiments.compare.cells import Cell, check_fairness, make_cells, with_choices
from advantageflow_experiments.compare.comparison import CellResult, Comparison, write_comparison
from advantageflow_experiments.compare.folder import Folder, create_folder, read_result
from advantageflow_experiments.compare.plan import Plan, load_plan
from advantageflow_experiments.compare.table import show_table
from advantageflow_pipelines.configuration.checks import check_run
from advantageflow_pipelines.local.tasks import RunFailed, log_tail
from advantageflow_pipelines.local.workdir import WorkDir, locked
from advantageflow_pipelines.pipelines.definition import images_of_a_run
from advantageflow_pipelines.say import say, warn

_INTERRUPTED = 130  # what shells report for Ctrl-C
_INTERVAL = 0.25  # seconds between two looks at the processes
_BY_USER = 2  # exit status of a command after a user's mistake
_SECONDS_TO_END = 60.0  # a run that is stopped ends its stages and closes its MLflow records first
_ERROR = re.compile(r"^error: (.*)", re.MULTILINE | re.DOTALL)
_REMEDY_OF_THE_RUN = re.compile(r"^Nothing complete is lost\..*\n?", re.MULTILINE)  # how to continue the run alone


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of(settings: RunSettings) -> int:
    """CPU threads that a run keeps busy at its busiest."""
    rollout = settings.rollout
    return max(settings.training.threads, rollout.shards * rollout.threads, settings.evaluation.threads)


def default_jobs(cells: Sequence[Cell], available: int) -> int:
    """How many runs at once keep all cores busy and none in want."""
    return max(1, min(len(cells), available // max(threads_of(cell.settings) for cell in cells)))


def run_cells(console: Console, folder: Folder, cells: Sequence[Cell], jobs: int) -> list[CellResult]:
    """Run what is not settled yet, `jobs` cells at once; a line for each run that ended, on a terminal also bars.

    Returns:
        The result of every cell, in the same order.

    Raises:
        RunFailed: a run failed for another reason than divergence; the others have been ended, all is kept.
        KeyboardInterrupt: all that was started has been ended.
    """
    found = {cell.name: read_result(folder.workdir(cell), cell) for cell in cells}
    results = {name: result for name, result in found.items() if result is not None}
    waiting = deque(cell for cell in cells if cell.name not in results)
    running: dict[TaskID, Child] = {}  # by its bar
    with Progress(console=console, transient=True, disable=not console.is_terminal) as live:
        if results:
            _say(live, f"{len(results)} of {len(cells)} runs are there from before")
        overall = live.add_task("comparison", total=len(cells), completed=len(results))
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.popleft()
                    running[live.add_task(cell.name, total=cell.settings.rounds)] = start_child(folder, cell)
                time.sleep(_INTERVAL)
                for bar, child in list(running.items()):
                    live.update(bar, completed=_rounds_done(folder.workdir(child.cell)))
                    if child.process.poll() is None:
                        continue
                    del running[bar]
                    live.remove_task(bar)
                    results[child.cell.name] = result = _judge(folder, child)
                    live.update(overall, completed=len(results))
                    left = time_left(list(results.values()), len(cells), jobs)
                    _say(live, f"{len(results)}/{len(cells)} {describe(result)}{left}")
        finally:
            if running:
                _say(live, f"stopping {', '.join(child.cell.name for child in running.values())}")
                end_children(list(running.values()))
    return [results[cell.name] for cell in cells]


def _say(live: Progress, text: str) -> None:
    live.console.print(f"{time.strftime('%H:%M:%S')}  {text}", highlight=False, markup=False, soft_wrap=True)


def _judge(folder: Folder, child: Child) -> CellResult:
    """The result of a run that ended.
    Raises RunFailed: it neither came to its end nor diverged.
    """
    result = read_result(folder.workdir(child.cell), child.cell)
    if result is not None:
        return result
    report = (
        f"{child.cell.name}: {child.error()}\n"
        f"The comparison was stopped; what is complete is kept. Log of this run: {child.log}\n"
        f"Continue with: advantageflow compare --resume {folder.root}"
    )
    raise RunFailed(report, by_user=child.process.returncode == _BY_USER)


@dataclass(frozen=True)
class Child:
    """A cell being run."""

    cell: Cell
    process: subprocess.Popen[bytes]  # the command; leader of its own process group
    log: Path  # what it prints

    def error(self) -> str:
        """What the command said was wrong: its error message, else the end of its log."""
        message = _ERROR.search(self.log.read_text(encoding="utf-8", errors="replace"))
        if message is not None:
            return _REMEDY_OF_THE_RUN.sub("", message[1]).rstrip()
        how = f"killed by signal {-self.process.returncode}" if self.process.returncode < 0 else "no error message"
        return f"{how}; the end of {self.log}:\n{log_tail(self.log)}"


def start_child(folder: Folder, cell: Cell) -> Child:
    """Start the run of a cell, or continue it from what is complete."""
    workdir, log = folder.workdir(cell), folder.log_file(cell.name)
    if workdir.settings_file.exists():
        choice = ["--resume", str(workdir.root)]
    else:
        shutil.rmtree(workdir.root, ignore_errors=True)  # stopped before its settings were written: it holds nothing
        choice = ["--config", str(folder.settings_file(cell.name)), "--workdir", str(workdir.root)]
    command = [sys.executable, "-m", "advantageflow_pipelines", "run", *choice, "--runs", str(folder.runs)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"},
            start_new_session=True,  # Ctrl-C is for this process, which then ends its children in order
        )
    return Child(cell, process, log)


def end_children(children: Sequence[Child]) -> None:
    """Ask all to end and wait until each has ended its own stages; what is then left is killed.

    Ctrl-C while they are waited for kills at once.
    """
    for child in children:
        child.process.terminate()
    until = time.monotonic() + _SECONDS_TO_END
    with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        for child in children:
            child.process.wait(max(0.0, until - time.monotonic()))
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended; the second is macOS's word
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()


def describe(result: CellResult) -> str:
    """A run's outcome in a line, such as 'awm, seed 1: accuracy 0.423 -> 0.612, 187 s'."""
    base, last = result.points[0], result.last
    name = f"{result.variant}, seed {result.seed}"
    change = f"accuracy {base.strict:.3f} -> {last.strict:.3f}"
    if result.diverged_round is not None:
        return f"{name}: diverged in round {result.diverged_round}; {change} after round {last.round}"
    return f"{name}: {change}, {result.seconds:.0f} s"


def time_left(results: Sequence[CellResult], total: int, jobs: int) -> str:
    """An estimate such as '; about 0:25:00 left': the runs still to be done take as long as those that are complete."""
    seconds = [result.seconds for result in results if result.diverged_round is None]
    remaining = total - len(results)
    if not remaining or not seconds:
        return ""
    left = sum(seconds) / len(seconds) * remaining / min(jobs, remaining)
    return f"; about {datetime.timedelta(seconds=round(left))} left"


def _rounds_done(workdir: WorkDir) -> int:
    """Rounds of a run before the one whose rollouts are being made."""
    journals = workdir.journal.glob("rollout-r*.jsonl")
    return max((int(path.name.split("-")[1][1:]) for path in journals), default=1) - 1


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


def run_comparison(console: Console, folder: Folder, plan: Plan, cells: Sequence[Cell], jobs: int | None) -> None:
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
