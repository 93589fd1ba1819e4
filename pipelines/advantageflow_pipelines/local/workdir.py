"""The working folder of a run: where everything lies, made new or opened again, used by one process at a time."""

import contextlib
import datetime
import fcntl
import itertools
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from advantageflow.errors import SettingsError, StoreError
from advantageflow.evaluation.report import BASE_FOLDER
from advantageflow.records import METRICS_FILE, PROMPTS_FILE, STATE_FILE
from advantageflow.settings import RunSettings
from advantageflow.store.files import append_line, read_json, read_lines, reading, writing
from advantageflow.store.policies import read_policy_state
from advantageflow_pipelines.configuration.choices import read_settings, write_settings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import Output

DEFAULT_RUNS = Path("runs")
TASK_DONE = "executor_output.json"  # Kubeflow writes it last, and only when the task succeeded


class WorkDir:
    """The working folder of a run: its paths, its settings, and what it has made so far.

    Attributes:
        runner_file: what runs the tasks, see runners.py; not there where each is a process.
        attempts_file: one JSON line for each time that the run was started or continued.
        artifacts: Kubeflow's pipeline root: <pipeline>-<time>/<task>/<output>.
        cache: Kubeflow's records of complete tasks: what --resume skips.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings_file = root / "settings.yaml"
        self.runner_file = root / "runner.json"
        self.pipeline_file = root / "pipeline.yaml"
        self.summary_file = root / "summary.json"
        self.attempts_file = root / "attempts.jsonl"
        self.journal = root / "journal"
        self.log_file = root / "logs" / "pipeline.log"
        self.artifacts = root / "artifacts"
        self.cache = root / "cache"
        self.report = root / "report"

    @cached_property
    def settings(self) -> RunSettings:
        """Those that the run was started with; raises SettingsError where they are damaged."""
        return read_settings(self.settings_file)

    def reports(self) -> dict[int, Path]:
        """The report of each evaluated round (0: the base); of two of one round the later one."""
        files = self._files(pipeline_of(self.settings).report, METRICS_FILE)
        return dict(sorted({int(read_json(path)["round"]): path.parent for path in files}.items()))

    def compared_reports(self) -> dict[str, Path]:
        """The reports that tell what the run came to: of the base, of its start if that is another policy, the last."""
        reports = self.reports()
        first, last = reports[0], reports[max(reports)]
        start, final = pipeline_of(self.settings).held_against
        if (first / BASE_FOLDER).exists():
            return {"base": first / BASE_FOLDER, start: first, final: last}
        return {"base": first, final: last}

    def policies(self) -> dict[int, Path]:
        """The policy after each round (0: the one that the run started from)."""
        outputs = pipeline_of(self.settings).policies
        files = [path for output in outputs for path in self._files(output, STATE_FILE)]
        return dict(sorted({read_policy_state(path.parent).round: path.parent for path in files}.items()))

    def prompts(self) -> Path | None:
        """The run's prompts; None while they are not made."""
        found = self._files(pipeline_of(self.settings).prompts, PROMPTS_FILE)
        return found[-1].parent if found else None

    def check_whole(self) -> None:
        """Raises StoreError where a report or a policy of a run at its end has lost the file that it is known by."""
        pipeline = pipeline_of(self.settings)
        for output, name in ((pipeline.report, METRICS_FILE), *((one, STATE_FILE) for one in pipeline.policies)):
            for folder in self._folders(output):
                if not (folder / name).exists():
                    remedy = f"delete {folder.parent} and continue with: advantageflow run --resume {self.root}"
                    raise StoreError("file not found", where=str(folder / name), remedy=remedy)

    def _files(self, output: Output, name: str) -> list[Path]:
        """A file of each of an output's artifacts, in order of the attempts."""
        return [path for folder in self._folders(output) if (path := folder / name).exists()]

    def _folders(self, output: Output) -> list[Path]:
        """An output's artifacts, in order of the attempts; tasks are called NAME, or NAME-NUMBER."""
        found = self.artifacts.glob(f"*/{output.stage}*/{output.name}")
        task = re.compile(rf"{re.escape(output.stage)}(-\d+)?")
        return sorted(folder for folder in found if task.fullmatch(folder.parent.name))


def conditioning_folder(prompts: Path) -> Path:
    """What conditions the model for the prompts of this folder: an output of the same task."""
    return prompts.parent / "conditioning"


def read_report(folder: Path) -> dict[str, Any]:
    """The metrics of a report."""
    return read_json(folder / METRICS_FILE)


def create_workdir(path: Path | None, settings: RunSettings, runs: Path = DEFAULT_RUNS) -> WorkDir:
    """Make the working folder of a new run and write its settings there.
    Raises StoreError: the folder is not empty, or cannot be written.

    Args:
        path: a new or empty folder; None makes one under `runs`, named after preset and time.
    """
    if "{{$" in str((path or runs).absolute()):
        message = "Kubeflow would read '{{$' in the path as a placeholder"
        raise StoreError(message, where=str(path or runs), remedy="give another folder to --workdir")
    if os.fsencode((path or runs).absolute()).decode(errors="replace") != str((path or runs).absolute()):
        message = "MLflow cannot name files in a folder whose name is not UTF-8"
        raise StoreError(message, where=str(path or runs), remedy="give another folder to --workdir")
    try:
        with writing(path or runs):
            workdir = WorkDir((path or _new_folder(runs, settings.preset)).absolute())
            _check_new(workdir.root)
            workdir.root.mkdir(parents=True, exist_ok=True)
            try:
                workdir.artifacts.mkdir()  # of several processes that try, one can
            except FileExistsError as error:
                remedy = "give another folder to --workdir"
                message = "another run has just taken this folder"
                raise StoreError(message, where=str(workdir.root), remedy=remedy) from error
            for folder in (workdir.journal, workdir.log_file.parent, workdir.cache, workdir.report):
                folder.mkdir()
            write_settings(workdir.settings_file, settings)
    except OSError as error:
        remedy = "choose another folder with --workdir"
        message = f"the working folder cannot be made: {error.strerror}"
        raise StoreError(message, where=str(path or runs), remedy=remedy) from error
    workdir.settings = settings
    return workdir


def open_workdir(path: Path) -> WorkDir:
    """A run's working folder, to continue it or to look at it.

    Raises:
        SettingsError: there is no run in this folder, or its settings are damaged.
        StoreError: it cannot be read or written.
    """
    workdir = WorkDir(path.absolute())
    with reading(workdir.settings_file):
        found = workdir.settings_file.is_file()
    if not found:
        remedy = "give the working folder of an earlier run (see `advantageflow runs`)"
        raise SettingsError("holds no run to continue", where=str(path), remedy=remedy)
    _check_access(workdir.root)
    workdir.settings = read_settings(workdir.settings_file)
    return workdir


def remove_unfinished(workdir: WorkDir) -> None:
    """Delete what tasks left that did not come to their end, so that nothing half-written can be taken for a result."""
    for folder, inner, files in os.walk(workdir.artifacts, topdown=True):
        if TASK_DONE in files:
            inner.clear()  # a complete task: nothing to look for below
        elif folder != str(workdir.artifacts) and not any(Path(folder).rglob(TASK_DONE)):
            shutil.rmtree(folder)
            inner.clear()


def complete_tasks(workdir: WorkDir) -> int:
    """How many tasks of the run a further attempt passes over."""
    return len(list(workdir.cache.glob("*.json"))) or len(list(workdir.artifacts.glob(f"*/*/{TASK_DONE}")))


@contextlib.contextmanager
def locked(workdir: WorkDir) -> Iterator[Callable[[threading.Thread], None]]:
    """Keep others from using the working folder at the same time; of file systems that know no locks it cannot be told.
    Raises StoreError: another process uses it.

    Yields what keeps them away beyond the block, until a thread that was left behind has ended.
    """
    with (workdir.root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            remedy = "wait for it to end, or stop it"
            raise StoreError("another process runs here", where=str(workdir.root), remedy=remedy) from error

        def until_ended(thread: threading.Thread) -> None:
            kept = os.dup(file.fileno())

            def wait() -> None:
                thread.join()
                os.close(kept)

            threading.Thread(target=wait, name="lock", daemon=True).start()

        yield until_ended


@contextlib.contextmanager
def temporary_folder(workdir: WorkDir) -> Iterator[None]:
    """Keep temporary files in the working folder: what a process that was killed left goes with the next attempt."""
    folder, before = workdir.root / ".tmp", os.environ.get("TMPDIR")
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
    try:
        yield
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def attempt(workdir: WorkDir) -> Iterator[float]:
    """Note down when an attempt at the run started and ended; yields the start (epoch seconds).

    The end is the start and what it took, whatever the clock has been set to meanwhile.
    """
    started, begun = time.time(), time.monotonic()
    try:
        yield started
    finally:
        # A full disk must not hide why the attempt ended.
        with contextlib.suppress(OSError):
            ended = started + time.monotonic() - begun
            append_line(workdir.attempts_file, json.dumps({"started": started, "ended": ended}))


def seconds_of_earlier_attempts(workdir: WorkDir) -> float:
    """Seconds that the run's earlier attempts took together; one that was killed outright does not count."""
    known = [(line.get("started"), line.get("ended")) for line in read_lines(workdir.attempts_file)]
    return sum(end - start for start, end in known if isinstance(start, float) and isinstance(end, float))


def unused(path: Path) -> Path:
    """The path, with a number where a folder of this name holds something already."""
    found, number = path, 2
    while found.exists() and any(found.iterdir()):
        found, number = path.with_name(f"{path.name}-{number}"), number + 1
    return found


def make_output(out: Path) -> None:
    """Make the folder that a command writes.
    Raises StoreError: it is not empty, or cannot be made.
    """
    with writing(out):
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise StoreError("is not an empty folder", where=f"--output {out}", remedy="name a new folder")
        out.mkdir(parents=True, exist_ok=True)


def _new_folder(runs: Path, preset: str) -> Path:
    """A folder that this call has made, so that no other run takes it."""
    name = f"{preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            (folder := runs / (name if number == 1 else f"{name}-{number}")).mkdir(parents=True)
            return folder
    raise AssertionError


def _check_new(root: Path) -> None:
    if root.is_file():
        raise StoreError("is a file", where=str(root), remedy="give a new or empty folder to --workdir")
    if not root.is_dir():
        return
    _check_access(root)
    if any(root.iterdir()):
        started = (root / "settings.yaml").is_file() and (root / "artifacts").is_dir()
        remedy = f"continue that run with: advantageflow run --resume {root}" if started else "clear it"
        remedy += "; or give a new folder to --workdir"
        raise StoreError("the working folder is not empty", where=str(root), remedy=remedy)


def _check_access(root: Path) -> None:
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        remedy = "give this user write permission there, or choose another folder with --workdir"
        raise StoreError("the working folder cannot be written", where=str(root), remedy=remedy)
