"""Follow runs on a cluster: their stage tasks as on one machine, by Kubeflow's list of tasks and by MLflow's."""

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from rich.console import Console

from advantageflow_pipelines.client.api import Api, ServerAway
from advantageflow_pipelines.client.records import Records
from advantageflow_pipelines.client.runs import SUCCEEDED, RunStatus, get_run
from advantageflow_pipelines.client.stages import OWN_TASKS, last_round, stage_tasks
from advantageflow_pipelines.local.display import TaskDisplay
from advantageflow_pipelines.local.tasks import CANCELLED, Task
from advantageflow_pipelines.say import warn

POLL_SECONDS = 5.0
PATIENCE_SECONDS = 600.0  # with a server that is away, as when it is updated; the run goes on without it
_STILL_SECONDS = 30.0  # that Kubeflow's list may not have changed though MLflow knows of more
_LONG_STILL_SECONDS = 300.0  # where MLflow is not asked
_LARGE = 100  # entries of a list that may stand still
_STANDS_STILL = "Kubeflow's list of tasks stands still, as KFP 2.17 has it from about 120 nodes on"


@dataclass
class Followed:
    """A run that is over, and its tasks as far as anybody knows."""

    run: RunStatus
    tasks: Mapping[str, Task]

    @property
    def failed(self) -> Task | None:
        """The stage task that failed first."""
        failed = [task for task in self.tasks.values() if task.error is not None and task.stage not in OWN_TASKS]
        return min(failed, key=lambda task: task.ended or 0.0, default=None)


def follow(api: Api, runs: Iterable[str], console: Console, records: Records) -> Followed:
    """Show runs that continue each other, one after the other, until the last is over or one has not succeeded.
    Raises ClusterError: there is no such run, or the server refuses, or is away for long.

    Args:
        runs: their ids, at least one; each is asked for when the one before has succeeded.

    Returns:
        The run that was over last.
    """
    with ExitStack() as stack:
        display: TaskDisplay | None = None
        for run_id in runs:
            run = _look(api, run_id, console)
            if display is None:
                started = run.created.timestamp() if run.created else time.time()
                display = stack.enter_context(TaskDisplay(console, started, last_round(run)))
            view = _View(display, records)
            while not view.show(run):
                time.sleep(POLL_SECONDS)
                run = _look(api, run_id, console)
            if run.state != SUCCEEDED:
                break
    return Followed(run, view.tasks)


@dataclass
class _View:
    """What is shown of one run."""

    display: TaskDisplay
    records: Records
    tasks: dict[str, Task] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _listed: list[tuple[str, str]] = field(default_factory=list)  # Kubeflow's list when it changed last
    _changed: float = field(default_factory=time.monotonic)
    _said: bool = False

    def show(self, run: RunStatus) -> bool:
        """Show the run as it is now; gives whether it is over."""
        listed = {task.task_id: task for task in stage_tasks(run)}
        recorded = self.records.tasks(run)
        self.tasks = {name: _joined(listed.get(name), recorded.get(name)) for name in {**listed, **recorded}}
        for task in sorted(self.tasks.values(), key=lambda task: (task.ended or task.started, task.name)):
            if task.error is not None and run.cancelled:
                task.how = CANCELLED
            lost = self._said and not recorded and task.ended is None  # whether it runs is not known any more
            if not lost and (task.stage not in OWN_TASKS or (task.error is not None and not run.cancelled)):
                result = self.records.result(task) if task.ended and task.task_id not in self._ended else None
                self._ended |= {task.task_id} if task.ended else set()
                self.display.update(task, result)
        if not self._said and self._stands_still(run, listed, recorded):
            self._said = True
            more = "going on from MLflow"
            if not recorded:
                more = "its further tasks are shown where MLFLOW_TRACKING_URI is set and MLflow knows of the run"
                self.display.forget()
            self.display.line(f"{_STANDS_STILL}: {more}", "yellow", run.ended.timestamp() if run.ended else None)
        return run.over

    def _stands_still(self, run: RunStatus, listed: Mapping[str, Task], recorded: Mapping[str, Task]) -> bool:
        """Whether Kubeflow's list has stopped to tell how the run goes."""
        if run.state == SUCCEEDED:
            return bool(listed) and not any(task.stage == "closing" and task.ended for task in listed.values())
        now, entries = time.monotonic(), [(task.task_id, task.state) for task in run.tasks]
        if entries != self._listed:
            self._listed, self._changed = entries, now
        still = now - self._changed
        if recorded:
            ahead = any(name not in listed or (one.ended and not listed[name].ended) for name, one in recorded.items())
            return ahead and still >= _STILL_SECONDS
        return len(run.tasks) >= _LARGE and still >= _LONG_STILL_SECONDS


def _joined(listed: Task | None, recorded: Task | None) -> Task:
    """A task by both lists: how far it is, and its end and error where Kubeflow has none."""
    if recorded is None or (listed is not None and recorded.attempt < listed.attempt):
        assert listed is not None
        return listed
    if listed is None:
        return recorded
    joined = replace(recorded, started=listed.started)
    if listed.ended is not None:
        joined.ended, joined.how = listed.ended, listed.how
        joined.error = listed.error and (recorded.error or listed.error)
    return joined


def _look(api: Api, run_id: str, console: Console) -> RunStatus:
    """The run now; waits for a server that is away."""
    away_since = None
    while True:
        try:
            return get_run(api, run_id)
        except ServerAway as error:
            now = time.monotonic()
            if away_since is None:
                away_since = now
                warn(console, f"{error.message}; the run goes on, trying again")
            if now - away_since > PATIENCE_SECONDS:
                raise
            time.sleep(POLL_SECONDS)
