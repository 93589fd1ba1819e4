"""`advantageflow runs follow | logs | cancel | retry`: what is done with one run on a Kubeflow cluster."""

import os
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import Annotated

from typer import Argument, Option

from advantageflow.errors import ClusterError, TrackingError
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow.tracking.lifecycle import heal
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.pipeline_run import hand_over
from advantageflow_pipelines.client import runs as remote
from advantageflow_pipelines.client.api import Api, NotThere
from advantageflow_pipelines.client.connection import Connection, make_connection
from advantageflow_pipelines.client.follow import Followed, follow
from advantageflow_pipelines.client.records import Records, log_command, pod_logs
from advantageflow_pipelines.client.stages import from_cache, pipeline_tasks
from advantageflow_pipelines.commands.options import expanding
from advantageflow_pipelines.local.interrupts import INTERRUPTED
from advantageflow_pipelines.local.tasks import RunFailed
from advantageflow_pipelines.say import Console, say, warn

_SECONDS_TO_END = 60.0
POLL_SECONDS = 2.0

Run = Annotated[str, Argument(metavar="RUN", help="Id of the run.")]
Stage = Annotated[str | None, Argument(metavar="[STAGE]", help="Of this stage only, such as training.")]
Lines = Annotated[int, Option("--tail", min=1, help="The last lines of each pod.")]
Wait = Annotated[bool, Option("--wait", help="Follow the new run; its status is the exit status.")]


@expanding(connection=make_connection)
def follow_command(connection: Connection, run_id: Run) -> None:
    """Follow a run on a cluster until it is over; its status is the exit status, as with `submit --wait`.

    With MLFLOW_TRACKING_URI set, also shows how far its tasks are, and the error of one that fails in its own words.
    """
    sys.exit(watch(Api(connection), run_id, Console()))


@expanding(connection=make_connection)
def logs(connection: Connection, run_id: Run, stage: Stage = None, tail: Lines = 100) -> None:
    """Show the logs of a run's pods on a cluster, as this person's kubeconfig or this pod may read them.

    Where that is not possible, shows the errors of its tasks that MLflow has (MLFLOW_TRACKING_URI), and the command for
    somebody who can.
    """
    console, api = Console(), Api(connection)
    run = remote.get_run(api, run_id)
    found = pod_logs(api.namespace, run_id, stage, lines=tail)
    if not found:
        records = Records(partial(warn, console))
        failed = [task for task in records.tasks(run).values() if task.error and stage in (None, task.stage)]
        found = {f"{task.name}, by MLflow": records.own_words(task) or "no error is recorded" for task in failed}
        warn(console, "the logs of its pods cannot be read from here; where kubectl reaches the cluster:")
        say(console, f"  {log_command(api.namespace, run_id, stage, tail)}")
    for name, text in found.items():
        say(console, f"== {name}", text)


@expanding(connection=make_connection)
def cancel(connection: Connection, run_id: Run) -> None:
    """End a run on a cluster, and its run in MLflow (MLFLOW_TRACKING_URI). What is complete stays in the cache.

    Of a run in several pipeline runs any may be named: the one that goes on is ended, and no other follows.
    """
    console, api = Console(), Api(connection)
    last = remote.segments_of(api, run_id)[-1].run_id
    remote.cancel_run(api, last)
    with console.status("waiting for its end"):
        run = _ended(api, last)
        while (later := remote.segments_of(api, last)[-1].run_id) != last:  # it had just been started
            remote.cancel_run(api, later)
            last, run = later, _ended(api, later)
    say(console, f"run {last} {'was' if run.over else 'is'} {run.word}")
    if not run.over:
        say(console, f"follow it with: advantageflow runs follow {last} {api.options}")
    heal_mlflow(api, [run], console)


@expanding(connection=make_connection)
def retry(connection: Connection, run_id: Run, wait: Wait = False) -> None:
    """Submit again what is missing of a run that failed or was cancelled: a new run of the same pipeline and settings.

    What is complete is taken from the cache, and a training goes on from its last checkpoint in the store. With
    MLFLOW_TRACKING_URI set the new run continues the old one's run in MLflow, whose final state is then the new one's.
    """
    console, api = Console(), Api(connection)
    again = remote.retry_run(api, run_id)
    say(console, f"run {again} started, again after run {run_id}", connection.run_page(again))
    _continue_in_mlflow(run_id, again, console)
    if wait:
        sys.exit(watch(api, again, console))


ACTIONS = {"follow": follow_command, "logs": logs, "cancel": cancel, "retry": retry}


def _ended(api: Api, run_id: str) -> remote.RunStatus:
    """The run when it is over, or after a minute."""
    deadline = time.monotonic() + _SECONDS_TO_END
    run = remote.get_run(api, run_id)
    while not run.over and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        run = remote.get_run(api, run_id)
    return run


def _continue_in_mlflow(run_id: str, again: str, console: Console) -> None:
    """Have the new run continue the old one's run in MLflow; where that cannot be, it opens one of its own."""
    tracking_uri = os.environ.get(TRACKING_ENV)
    if not tracking_uri:
        say(console, f"with {TRACKING_ENV} set it would continue the old run in MLflow; it opens one of its own there")
        return
    try:
        if hand_over(open_client(tracking_uri), run_id, again):
            say(console, "MLflow: it continues the old run there")
    except TrackingError as error:
        warn(console, f"the new run opens one of its own in MLflow. {error}")


_LINES = 15  # of a pod's log
_NO_REASON = "Kubeflow gives no reason"
_TOO_LARGE = (
    "No task did, but its last one did not come: it may have grown beyond what Argo keeps of a run; "
    "`advantageflow plan` says what one takes"
)
_NOT_TRIED_AGAIN = (
    "It was not tried again, though its resources ask for that (retries): as shipped, Kubeflow 2.17 tries again only "
    "what is lost with its pod. infra/README.md has what an administrator changes (Retries)."
)


def watch(api: Api, run_id: str, console: Console) -> int:
    """Follow a run, from one of its segments to the next.

    Returns:
        The exit status: 0 it succeeded, 130 Ctrl-C.

    Raises:
        RunFailed: it did not succeed.
        ClusterError: there is no such run; the server is away or refuses: says how to follow again.
    """
    again = f"the run goes on; follow it with: advantageflow runs follow {run_id} {api.options}"
    records = Records(partial(warn, console))
    try:
        followed = follow(api, remote.follow_segments(api, run_id), console, records)
    except KeyboardInterrupt:
        say(console, f"\n{again}")
        return INTERRUPTED
    except NotThere:
        raise
    except ClusterError as error:
        raise type(error)(error.message, where=error.where, remedy=f"{error.remedy}; {again}") from error
    run = followed.run
    heal_mlflow(api, [run], console)
    if run.state != remote.SUCCEEDED:
        raise RunFailed(_explain(api, followed, records), by_user=False)
    took = f" after {run.seconds:.0f} s" if run.seconds is not None else ""
    say(console, f"run {run.run_id} succeeded{took}", style="green")
    if from_cache(run):
        say(console, "the results of all stages were taken from the cache: nothing was computed in this run")
    return 0


def _explain(api: Api, followed: Followed, records: Records) -> str:
    """The report on a run that is over and did not succeed.

    The reason is the stage's own error by MLflow; else the last lines of its pods; else what Kubeflow says.
    """
    run, task = followed.run, followed.failed
    retry = f"  submit what is missing: advantageflow runs retry {run.run_id} {api.options}"
    if run.state != remote.FAILED:
        return f"run {run.run_id} was {run.word}.\n{retry}"
    name, stage = (f"run {run.run_id}", "") if task is None else (task.name, f" {task.stage}")
    reason = task and records.own_words(task)
    if not reason:
        reason = records.reason(run) or (task and task.error and task.error["message"]) or run.error or _NO_REASON
        logs = pod_logs(api.namespace, run.run_id, task.stage, lines=_LINES) if task else {}
        reason = "\n".join([reason, *(f"the end of pod {pod}:\n{text}" for pod, text in logs.items())])
        if task is None and not any(one.stage == "closing" for one in followed.tasks.values()):
            reason = f"{reason}. {_TOO_LARGE}"
    lines = [
        f"{name} failed: {reason}",
        f"  its log: advantageflow runs logs {run.run_id}{stage} {api.options}",
        f"  its page: {api.connection.run_page(run.run_id)}",
        retry,
    ]
    asked = pipeline_tasks(run.spec).get(task.stage, {}).get("retryPolicy", {}).get("maxRetryCount", 0) if task else 0
    if task is not None and task.attempt == 1 and int(asked):
        lines.insert(1, f"  {_NOT_TRIED_AGAIN}")
    return "\n".join(lines)


def heal_mlflow(api: Api, runs: Iterable[remote.RunStatus], console: Console) -> None:
    """Give runs in MLflow the status that they have in Kubeflow, and say which were changed.

    Does nothing where MLFLOW_TRACKING_URI is not set; an MLflow that is away costs a warning.

    Args:
        runs: as it has just told them; it is asked about others that are open in MLflow.
    """
    tracking_uri = os.environ.get(TRACKING_ENV)
    if not tracking_uri:
        return
    states = {run.run_id: run.state for run in runs}
    try:
        client = open_client(tracking_uri)
        lines = heal(client, states, lambda one: _ask(api, one))
    except TrackingError as error:
        warn(console, f"runs may be open in MLflow that are over. {error}")
        return
    say(console, *(f"MLflow: {line}" for line in lines))


def _ask(api: Api, run_id: str) -> str | None:
    """The run's state; None where this server does not say, as of a run of another cluster."""
    try:
        return remote.get_run(api, run_id).state
    except ClusterError:
        return None
