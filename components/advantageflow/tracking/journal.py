"""The journal a stage task writes: one JSON event a line, appended as things happen.

Every event holds `time` (epoch seconds), `task` (unique id) and `event`; by event:

| event    | fields                                                                                 |
|----------|----------------------------------------------------------------------------------------|
| start    | stage, round, shard, pid, process_started, settings                                    |
| useful   | (none): imports and loading are done, useful work begins                               |
| progress | done, total, unit                                                                      |
| metrics  | values, step, parent (true: also a curve of the whole run)                             |
| image    | key, path, step                                                                        |
| dataset  | path: the Parquet file of the prompts                                                  |
| artifact | path, folder                                                                           |
| page     | path: an HTML page on which links to MLflow find a place                            |
| alarm    | name, message, step: something that a person must look at                              |
| warning  | message: something that a person should know of what was given, such as prompts that were cut |
| policy   | path, prompts, before, after (reports), sampling, seed: a policy and how it was judged  |
| result   | text, note, headline: what the run came to so far, in a few words and in Markdown      |
| end      | seconds (since process start), cpu_seconds, peak_memory, gpu_peak_memory (of one GPU), |
|          | bytes_read and bytes_written of artifacts; in bytes, and where they are known          |
| error    | kind, message, where, remedy, traceback                                                |

Where they go: the folder in ADVANTAGEFLOW_JOURNAL; else, with MLFLOW_TRACKING_URI, a temporary file that is published
as it grows; else nowhere. Writing costs microseconds and no imports: MLflow is imported by whoever publishes.
"""

import json
import logging
import os
import resource
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from advantageflow.errors import StoreError, UserError
from advantageflow.store.files import append_line
from advantageflow.tracking.events import JOURNAL_ENV, TRACKING_ENV, Event

_IMPORTED_AT = time.time()
_STARTTIME_FIELD = 19  # field 22 of /proc/<pid>/stat, counted from the one after the command name

logger = logging.getLogger(__name__)


class Journal:
    """Appends the events of one task; with no path it only logs.

    Args:
        task: its unique id, the file's name.
        path: of the file.
    """

    progress_interval = 0.2  # seconds between two progress events: a person sees no more

    def __init__(self, task: str = "", path: Path | None = None) -> None:
        self.task = task
        self.path = path
        self.cost: dict[str, float] = {}  # further fields of the end
        self.warnings: list[str] = []
        self._last_progress = 0.0

    def record(self, event: str, **fields: Any) -> None:
        """Append one event; `time` and `task` are those of now and here, unless the fields have them."""
        if self.path is not None:
            self.write(json.dumps({"time": time.time(), "task": self.task, "event": event, **fields}))

    def repeat(self, event: Event) -> None:
        """Record an event of another process's journal as this task's, at its own time."""
        self.record(**{**event, "task": self.task})

    def write(self, line: str) -> None:
        """Append an event's line."""
        assert self.path is not None
        try:
            append_line(self.path, line)
        except OSError as error:
            raise StoreError(
                f"the task's journal cannot be written: {error.strerror}",
                where=str(self.path),
                remedy="free some disk space or choose another --workdir",
            ) from error

    def useful(self) -> None:
        """Say that useful work begins now: what came before, since the process started, is overhead."""
        self.record("useful")

    def progress(self, done: int, total: int, unit: str) -> None:
        """Say how far the task is, at most five times a second; the last step is always recorded."""
        now = time.monotonic()
        if done < total and now - self._last_progress < self.progress_interval:
            return
        self._last_progress = now
        self.record("progress", done=int(done), total=int(total), unit=unit)

    def metrics(self, values: Mapping[str, float], step: int | None = None, *, parent: bool = False) -> None:
        """Record numbers of this task by name, such as 'reward/soft_mean'.

        Args:
            values: by name.
            step: place on the curve's axis; the task's round when None.
            parent: also draw them as curves of the whole run (then `step` is the round).
        """
        numbers = {name: float(value) for name, value in values.items()}
        logger.info("%s", ", ".join(f"{name} {value:.6g}" for name, value in numbers.items()))
        self.record("metrics", values=numbers, step=None if step is None else int(step), parent=parent)

    def image(self, key: str, path: Path, step: int) -> None:
        """Record a picture of the whole run; `path` must stay where it is until the run is published."""
        self.record("image", key=key, path=str(path.absolute()), step=int(step))

    def dataset(self, path: Path) -> None:
        """Record the Parquet file of the prompts that the whole run reads."""
        self.record("dataset", path=str(path.absolute()))

    def artifact(self, path: Path, folder: str) -> None:
        """Record a file or folder to be kept with this task, under `folder` of its artifacts."""
        self.record("artifact", path=str(path.absolute()), folder=folder)

    def page(self, path: Path) -> None:
        """Record an HTML page of the task in Kubeflow: one that publishes itself adds where it is found in MLflow."""
        self.record("page", path=str(path.absolute()))

    def alarm(self, name: str, message: str, step: int) -> None:
        """Record what a person must look at, under the same name in every round; also a warning in the log."""
        logger.warning("alarm: %s", message)
        self.record("alarm", name=name, message=message, step=int(step))

    def result(self, text: str, note: str, headline: str) -> None:
        """Record what the whole run came to so far: for its name and its description (Markdown) in MLflow, and the
        metric by which runs are compared there.
        """
        self.record("result", text=text, note=note, headline=headline)

    def warning(self, message: str) -> None:
        """Record something that a person should know, on the console, in MLflow and in the log; `warnings` keeps it."""
        logger.warning("warning: %s", message)
        self.warnings.append(message)
        self.record("warning", message=message)

    def policy(
        self,
        path: Path,
        reports: tuple[Path, Path],
        prompts: Path,
        sampling: Mapping[str, Any],
        seed: int,
        *,
        decision: Mapping[str, Any] | None = None,
        inputs_sha256: str = "",
    ) -> None:
        """Record a policy and how it was judged: what a run ends with becomes a version of a registered model.

        Args:
            path, reports, prompts: artifacts; the reports are of the evaluations before and after training.
            sampling: EvaluationSettings as JSON values.
            seed: of the run.
            decision: of the gate between it and the champion, where it passed one.
            inputs_sha256: of what the run was made from, where that is known.
        """
        paths = {"path": path, "prompts": prompts, "before": reports[0], "after": reports[1]}
        named = {name: str(one.absolute()) for name, one in paths.items()}
        told = {"sampling": dict(sampling), "seed": seed, "decision": decision, "inputs_sha256": inputs_sha256}
        self.record("policy", **named, **told)

    def error(self, error: BaseException) -> None:
        """Record what stopped the task."""
        self.record("error", **error_fields(error))


def error_fields(error: BaseException) -> dict[str, Any]:
    """An error as JSON values; the traceback only of what is not a user's mistake."""
    kind, trace = type(error).__name__, "".join(traceback.format_exception(error))
    if isinstance(error, UserError):
        return {"kind": kind, "message": error.message, "where": error.where, "remedy": error.remedy, "traceback": None}
    return {"kind": kind, "message": str(error), "where": "", "remedy": "", "traceback": trace}


_current: ContextVar[Journal | None] = ContextVar("journal", default=None)


def current_journal() -> Journal:
    """The open journal of this task, or one that only logs, so that stages run anywhere."""
    return _current.get() or Journal()


@contextmanager
def journal_in_use(journal: Journal) -> Iterator[Journal]:
    """Let stages that are called as functions write to this journal, such as one that shows a person the progress."""
    token = _current.set(journal)
    try:
        yield journal
    finally:
        _current.reset(token)


def new_task_id(stage: str, round_index: int | None = None, shard: int | None = None) -> str:
    """A unique id that a person can read, such as 'rollout-r003-s01-9f2c41d8'."""
    parts = [stage]
    parts += [f"r{round_index:03d}"] if round_index is not None else []
    parts += [f"s{shard:02d}"] if shard is not None else []
    return "-".join([*parts, uuid.uuid4().hex[:8]])


@contextmanager
def stage_journal(
    stage: str,
    round_index: int | None = None,
    shard: int | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    started: float | None = None,
) -> Iterator[Journal]:
    """Open the journal of one stage task: `start` first, `end` or `error` last.
    Raises StoreError: the journal cannot be written.

    Args:
        stage: its name.
        round_index: the round it belongs to; None for a task outside rounds.
        shard: which share of a round's work; None for a task that is not sharded.
        settings: of the task by section, JSON-able.
        started: epoch seconds at which the task began, where it is not all that its process does.
    """
    task = new_task_id(stage, round_index, shard)
    cpu_before = 0.0 if started is None else _cpu_seconds()
    started = process_started() if started is None else started
    publish = not os.environ.get(JOURNAL_ENV) and bool(os.environ.get(TRACKING_ENV))
    with ExitStack() as stack:
        folder = _journal_folder()
        if publish:
            temporary = tempfile.TemporaryDirectory(prefix="advantageflow-journal-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(temporary))
        journal = Journal(task, folder / f"{task}.jsonl" if folder else None)
        place = {"stage": stage, "round": round_index, "shard": shard}
        journal.record("start", **place, pid=os.getpid(), process_started=started, settings=dict(settings or {}))
        if publish and folder:
            from advantageflow.tracking.task_publisher import publishing_task

            stack.enter_context(publishing_task(folder))
        stack.enter_context(journal_in_use(journal))
        try:
            yield journal
            cost = {"cpu_seconds": _cpu_seconds() - cpu_before, **_peak_memory(), **journal.cost}
            journal.record("end", seconds=time.time() - started, **cost)
        except BaseException as error:
            journal.error(error)
            raise


def _journal_folder() -> Path | None:
    """The folder of ADVANTAGEFLOW_JOURNAL, made; None where that is not set."""
    if not os.environ.get(JOURNAL_ENV):
        return None
    folder = Path(os.environ[JOURNAL_ENV])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the journal's folder cannot be made: {error.strerror}"
        raise StoreError(message, where=str(folder), remedy="choose another --workdir") from error
    return folder


def process_started() -> float:
    """Epoch seconds at which the operating system started this process (resolution: one clock tick, 10 ms).

    Where there is no /proc, the time at which this module was imported.
    """
    try:
        with open("/proc/self/stat", encoding="utf-8") as stat:
            ticks = int(stat.read().rpartition(")")[2].split()[_STARTTIME_FIELD])
    except OSError:
        return _IMPORTED_AT
    since_boot = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)


def _cpu_seconds() -> float:
    """Of this process and what it has waited for."""
    return sum(os.times()[:4])


def _peak_memory() -> dict[str, int]:
    """Bytes that this process, or one that it started, held at most; and those of its GPU."""
    held = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    found = {"peak_memory": held * (1 if sys.platform == "darwin" else 1024)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["gpu_peak_memory"] = int(torch.cuda.max_memory_allocated())
    return found
