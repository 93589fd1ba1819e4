"""The working folder of a run: where everything lies, made new or opened again, used by one process at a time."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from advantageflow.errors import SettingsError, StoreError
from advantageflow.settings import RunSettings
from advantageflow.store.files import append_line, read_lines, reading, writing
from advantageflow.store.s3 import cache_folder
from advantageflow_pipelines.configuration.choices import read_settings, write_settings

DEFAULT_RUNS = Path("runs")
TASK_DONE = "executor_output.json"  # Kubeflow writes it last, and only when the task succeeded


@dataclass(frozen=True)
class WorkDir:
    """Paths of a run, all under `root`."""

    root: Path

    @property
    def settings_file(self) -> Path:
        return self.root / "settings.yaml"

    @property
    def runner_file(self) -> Path:
        """What runs the tasks, see runners.py; not there where each is a process."""
        return self.root / "runner.json"

    @property
    def pipeline_file(self) -> Path:
        return self.root / "pipeline.yaml"

    @property
    def summary_file(self) -> Path:
        return self.root / "summary.json"

    @property
    def attempts_file(self) -> Path:
        """One JSON line for each time that the run was started or continued."""
        return self.root / "attempts.jsonl"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def log_file(self) -> Path:
        return self.root / "logs" / "pipeline.log"

    @property
    def artifacts(self) -> Path:
        """Kubeflow's pipeline root: <pipeline>-<time>/<task>/<output>."""
        return self.root / "artifacts"

    @property
    def cache(self) -> Path:
        """Kubeflow's records of complete tasks: what --resume skips."""
        return self.root / "cache"

    @property
    def aws(self) -> Path:
        """Copies of root's credentials for its containers, which run as another user; there only while they run."""
        return self.root / ".aws"

    @property
    def report(self) -> Path:
        return self.root / "report"


def create_workdir(path: Path | None, settings: RunSettings, runs: Path = DEFAULT_RUNS) -> WorkDir:
    """Make the working folder of a new run and write its settings there.

    Args:
        path: a new or empty folder; None makes one under `runs`, named after preset and time.

    Raises:
        StoreError: the folder is not empty, or cannot be written.
    """
    try:
        with writing(path or runs):
            name = f"{settings.preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
            workdir = WorkDir((path or unused(runs / name)).absolute())
            _check_new(workdir.root)
            workdir.root.mkdir(parents=True, exist_ok=True)
            try:
                workdir.artifacts.mkdir()  # of several processes that try, one can
            except FileExistsError as error:
                remedy = "give another folder to --workdir"
                raise _Taken(
                    "another run has just taken this folder", where=str(workdir.root), remedy=remedy
                ) from error
            for folder in (workdir.journal, workdir.log_file.parent, workdir.cache, workdir.report):
                folder.mkdir()
            write_settings(workdir.settings_file, settings)
    except _Taken:
        if path is None:
            return create_workdir(None, settings, runs)
        raise
    except OSError as error:
        remedy = "choose another folder with --workdir"
        message = f"the working folder cannot be made: {error.strerror}"
        raise StoreError(message, where=str(path or runs), remedy=remedy) from error
    return workdir


def open_workdir(path: Path) -> tuple[WorkDir, RunSettings]:
    """A run's working folder and settings, to continue it or to look at it.

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
    return workdir, read_settings(workdir.settings_file)


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

    Yields what keeps them away beyond the block, until a thread that was left behind has ended.

    Raises:
        StoreError: another process uses it.
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
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))  # which later runs use too
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

    Raises:
        StoreError: it is not empty, or cannot be made.
    """
    with writing(out):
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise StoreError("is not an empty folder", where=f"--output {out}", remedy="name a new folder")
        out.mkdir(parents=True, exist_ok=True)


class _Taken(StoreError):
    """Another run took the folder since it was found empty."""


def _check_new(root: Path) -> None:
    if "{{$" in str(root):
        message = "Kubeflow would read '{{$' in the path as a placeholder"
        raise StoreError(message, where=str(root), remedy="give another folder to --workdir")
    if os.fsencode(root).decode(errors="replace") != str(root):
        message = "MLflow cannot name files in a folder whose name is not UTF-8"
        raise StoreError(message, where=str(root), remedy="give another folder to --workdir")
    if root.is_file():
        raise StoreError("is a file", where=str(root), remedy="give a new or empty folder to --workdir")
    if not root.is_dir():
        return
    _check_access(root)
    if any(root.iterdir()):
        started = (root / "settings.yaml").is_file() and (root / "artifacts").is_dir()
        remedy = f"continue that run with: advantageflow run --resume {root}" if started else "clear it"
        raise _Taken(
            "the working folder is not empty", where=str(root), remedy=f"{remedy}; or give a new folder to --workdir"
        )


def _check_access(root: Path) -> None:
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        remedy = "give this user write permission there, or choose another folder with --workdir"
        raise StoreError("the working folder cannot be written", where=str(root), remedy=remedy)
