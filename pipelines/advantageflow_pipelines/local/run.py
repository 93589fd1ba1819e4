"""Running a pipeline on this machine: its stages here, or Kubeflow's local runner in a process beside."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from advantageflow.settings import RunSettings
from advantageflow.store.files import write_json
from advantageflow.tracking.events import JOURNAL_ENV, read_events
from advantageflow_pipelines.local import workdir as folders
from advantageflow_pipelines.local.display import RunProgress
from advantageflow_pipelines.local.inline import run_inline
from advantageflow_pipelines.local.interrupts import INTERRUPTS
from advantageflow_pipelines.local.runners import RunnerKind, container_engine, end_containers, read_runner
from advantageflow_pipelines.local.summary import make_summary, write_report
from advantageflow_pipelines.local.tasks import explain_failure, measure_overhead
from advantageflow_pipelines.local.tracking import SECONDS_AFTER_AN_INTERRUPT, RunTracking, deliver
from advantageflow_pipelines.say import say, warn

_SECONDS_TO_END = 5.0
_SECONDS_TO_KEEP_A_CHECKPOINT = 30.0  # a gradient step and a write; without them the checkpoint before counts


def run_locally(
    workdir: folders.WorkDir,
    *,
    console: Console,
    tracking_uri: str,
    on_report: Callable[[int, Path], None] = lambda number, report: None,
) -> dict[str, Any]:
    """Run, or continue, the pipeline of a working folder; what is complete in it is not done again.

    Shows progress on the console, and tells `on_report` each evaluation's round and report when it is done.

    Returns:
        The summary, as written to summary.json.

    Raises:
        RunFailed: a stage failed; says why.
        StoreError: another process runs in the working folder.
        KeyboardInterrupt: all that was started has been ended.
    """
    settings = workdir.settings
    with (
        folders.locked(workdir) as until_ended,
        folders.temporary_folder(workdir),
        folders.attempt(workdir) as started,
        _no_containers_left(workdir),
    ):
        workdir.summary_file.unlink(missing_ok=True)  # should it be damaged
        folders.remove_unfinished(workdir)
        begun, earlier = time.monotonic(), {path.stem for path in workdir.journal.glob("*.jsonl")}
        told = partial(warn, console)
        with RunTracking(tracking_uri, workdir, told, others=True, left_behind=until_ended) as tracking:
            progress = RunProgress(console, settings, partial(_report, workdir, on_report), started, earlier)
            if read_runner(workdir).kind is RunnerKind.INLINE:
                run_inline(workdir, progress)
            else:
                _run_apart(workdir, console, progress)
            events = read_events(workdir.journal)
            write_report(workdir, events)
            ended = started + time.monotonic() - begun  # whatever the clock has been set to meanwhile
            summary = make_summary(
                workdir,
                seconds=folders.seconds_of_earlier_attempts(workdir) + ended - started,
                overhead=measure_overhead(events, started, ended),
            )
            write_json(workdir.summary_file, summary)  # its presence says that the run is complete
            return deliver(tracking, workdir, summary)


def seconds_to_end(settings: RunSettings) -> float:
    """How long a run may take to end where it is asked to."""
    return _patience(settings) + SECONDS_AFTER_AN_INTERRUPT + _SECONDS_TO_END


def _report(workdir: folders.WorkDir, on_report: Callable[[int, Path], None], number: int) -> dict[str, Any]:
    """The metrics of the evaluation after a round, which has just been done."""
    folder = workdir.reports()[number]
    on_report(number, folder)
    return folders.read_report(folder)


@contextlib.contextmanager
def _no_containers_left(workdir: folders.WorkDir) -> Iterator[None]:
    """End containers of the run that an earlier attempt left when it was killed outright, and in the end its own."""
    if read_runner(workdir).kind is not RunnerKind.DOCKER:
        yield
        return
    with container_engine() as client:
        end_containers(client, workdir.root)
        try:
            yield
        finally:
            end_containers(client, workdir.root)


def _run_apart(workdir: folders.WorkDir, console: Console, progress: RunProgress) -> None:
    """Have Kubeflow's local runner run the pipeline. Raises RunFailed: it ended with an error."""
    with _pipeline(workdir, console) as process, INTERRUPTS.work(), progress.following(workdir.journal):
        process.wait()
    if process.returncode != 0:
        raise explain_failure(workdir, progress.tasks)


@contextlib.contextmanager
def _pipeline(workdir: folders.WorkDir, console: Console) -> Iterator[subprocess.Popen[bytes]]:
    """The process that runs the pipeline, its output in the log; ended with all its tasks when the block is left."""
    command = [sys.executable, "-m", "advantageflow_pipelines.local.kfp_process", str(workdir.root), str(os.getpid())]
    with workdir.log_file.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, without a shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", JOURNAL_ENV: str(workdir.journal)},
            start_new_session=True,  # so that it can be ended as a group, and Ctrl-C reaches only this process
        )
    try:
        yield process
    finally:
        _end(process, workdir.settings, console)


def _end(process: subprocess.Popen[bytes], settings: RunSettings, console: Console) -> None:
    """End the pipeline's process and its tasks; a training that keeps checkpoints is given the time to write one."""
    patience = _patience(settings)

    def tell() -> None:
        what = "the tasks to end" if patience == _SECONDS_TO_END else "the training to keep a checkpoint"
        say(console, f"waiting up to {patience:g} s for {what}; Ctrl-C again ends all at once")

    end_group(process, patience, tell)


def _patience(settings: RunSettings) -> float:
    """Seconds for a pipeline's tasks to end by themselves."""
    return _SECONDS_TO_KEEP_A_CHECKPOINT if settings.training.checkpoint_every > 0 else _SECONDS_TO_END


_SECONDS_BEFORE_TELLING = 2.0
_SECONDS_TO_DIE = 5.0  # of what is killed outright


def end_group(process: subprocess.Popen[bytes], patience: float, tell: Callable[[], None]) -> None:
    """End the group of a process that leads one, unless it came to a good end.

    The leader's own end says nothing of the others: those are waited for too, as a training writes its checkpoint, and
    killed after `patience` seconds. An interrupt meanwhile kills them at once. `tell` is called where it takes longer
    than a moment.
    """
    if process.poll() == 0:
        return
    gone = False
    try:
        _signal(process.pid, signal.SIGTERM)
        gone = _gone(process, min(patience, _SECONDS_BEFORE_TELLING))
        if not gone and patience > _SECONDS_BEFORE_TELLING:
            tell()
            gone = _gone(process, patience - _SECONDS_BEFORE_TELLING)
    finally:
        if not gone:
            _signal(process.pid, signal.SIGKILL)
            _gone(process, _SECONDS_TO_DIE)


def _gone(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait until no process of the group is left; whether that came to be."""
    until = time.monotonic() + seconds
    while True:
        process.poll()  # a leader that nobody has asked after stays in its group
        if not _signal(process.pid, 0):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.02)


def _signal(group: int, sign: int) -> bool:
    """Send a signal to a group; whether there was anyone (macOS forbids it where all have ended)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sign)
        return True
    return False
