"""Follow a run: a line for each task whose state changes, until the run is over."""

from __future__ import annotations

import re
import time
from datetime import datetime

from rich.console import Console

from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.refusals import ServerAway
from advantageflow_pipelines.client.runs import SUCCEEDED, RunStatus, TaskStatus, get_run
from advantageflow_pipelines.local.failures import RunFailed
from advantageflow_pipelines.pipelines.definition import ROUND

POLL_SECONDS = 5.0
PATIENCE_SECONDS = 600.0  # with a server that is away, as when it is updated; the run goes on without it
_FAILED = "FAILED"
_PLUMBING = re.compile(
    r"root|(?:.*-)?driver|(?:executor|iteration|for-loop|condition|exit-handler|exit-hook)\b.*", re.IGNORECASE
)
_DRIVER = re.compile(r"(?:.*-)?driver")
_STYLES = {SUCCEEDED: "green", _FAILED: "red", "CANCELED": "red", "RUNNING": "cyan"}


def follow(api: Api, run_id: str, console: Console) -> RunStatus:
    """Show a run until it is over.

    Args:
        api: of the server.
        run_id: of the run.
        console: where lines are printed.

    Returns:
        The run, which succeeded.

    Raises:
        RunFailed: the run ended otherwise; names the task that failed and what the server says of it.
        ClusterError: there is no such run, or the server refuses, or is away for long.
    """
    shown: dict[str, str] = {}
    with console.status("waiting for the run") as status:
        while True:
            run = _look(api, run_id, console)
            for task in _worth_showing(run):
                if shown.get(task.task_id) != task.state:
                    shown[task.task_id] = task.state
                    _print(console, task, run)
            if run.over:
                break
            going = sorted({task.name for task in _worth_showing(run) if task.state == "RUNNING"})
            status.update(f"{run.word}: {', '.join(going)}" if going else run.word)
            time.sleep(POLL_SECONDS)
    if run.state != SUCCEEDED:
        raise RunFailed(_report(api, run), by_user=False)
    return run


def failed_task(run: RunStatus) -> TaskStatus | None:
    """The task that a run failed at: the first one, and not the round or the run that failed with it."""
    failed = [task for task in run.tasks if task.state == _FAILED]

    def rank(task: TaskStatus) -> tuple[int, float]:
        around = _is_plumbing(task, run) and not _DRIVER.fullmatch(task.name)
        return (
            2 if around else 1 if task.name.startswith(ROUND) else 0,
            task.ended.timestamp() if task.ended else 0.0,
        )

    return min(failed, key=rank, default=None)


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
                console.print(f"{error.message}; the run goes on, trying again", style="yellow", markup=False)
            if now - away_since > PATIENCE_SECONDS:
                raise
            time.sleep(POLL_SECONDS)


def _worth_showing(run: RunStatus) -> list[TaskStatus]:
    """Stages and rounds in the order that they started; Kubeflow's own tasks only when they failed."""
    tasks = [task for task in run.tasks if not _is_plumbing(task, run) or _driver_failed(task)]
    return sorted(tasks, key=lambda task: task.started.timestamp() if task.started else float("inf"))


def _is_plumbing(task: TaskStatus, run: RunStatus) -> bool:
    """Whether a task is Kubeflow's own; the outermost one has the name that its pods' names start with."""
    if _PLUMBING.fullmatch(task.name):
        return True
    return any(pod.startswith(f"{task.name}-") for other in run.tasks for pod in other.pods)


def _driver_failed(task: TaskStatus) -> bool:
    return task.state == _FAILED and _DRIVER.fullmatch(task.name) is not None


def _print(console: Console, task: TaskStatus, run: RunStatus) -> None:
    at = task.ended or task.started
    clock = (at or datetime.now().astimezone()).astimezone().strftime("%H:%M:%S")
    took = f" after {(task.ended - task.started).total_seconds():.0f} s" if task.ended and task.started else ""
    style = _STYLES.get(task.state, "")
    state = "cancelled" if run.cancelled and task.state == _FAILED else task.state.lower()
    console.print(f"{clock} {task.name} {state}{took}", style=style, markup=False, highlight=False)


def _report(api: Api, run: RunStatus) -> str:
    """What a person needs to read of a run that did not succeed."""
    page = api.connection.run_page(run.run_id)
    namespace = f" -n {api.namespace}" if api.namespace else " -n kubeflow"
    logs = f"kubectl logs{namespace} -l pipeline/runid={run.run_id} -c main --tail=50 --prefix"
    look = f"  its logs: {page}\n  or: {logs}"
    if run.state != _FAILED:
        return f"run {run.run_id} was {run.word}.\n{look}"
    task = failed_task(run)
    if task is None:
        return f"run {run.run_id} failed: {run.error or 'the server gives no reason'}\n{look}"
    inside = next((f" of {one.name}" for one in run.tasks if one.state == _FAILED and one.name.startswith(ROUND)), "")
    name = task.name if task.name.startswith(ROUND) else f"{task.name}{inside}"
    return f"{name} failed: {task.error or run.error or 'the server gives no reason'}\n{look}"
