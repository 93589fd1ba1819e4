"""`advantageflow runs follow | logs | cancel | retry`: what is done with one run on a Kubeflow cluster."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import Annotated

import typer

from advantageflow.errors import TrackingError
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import Connection
from advantageflow_pipelines.client.pods import log_command, pod_logs
from advantageflow_pipelines.client.records import Records
from advantageflow_pipelines.client.runs import RunStatus, cancel_run, get_run, retry_run
from advantageflow_pipelines.client.segments import segments_of
from advantageflow_pipelines.commands.connect import connect
from advantageflow_pipelines.commands.expand import expanding
from advantageflow_pipelines.commands.watch import heal_mlflow, watch
from advantageflow_pipelines.say import Console, say, warn

_SECONDS_TO_END = 60.0
POLL_SECONDS = 2.0

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
Stage = Annotated[str | None, typer.Argument(metavar="[STAGE]", help="Of this stage only, such as training.")]
Lines = Annotated[int, typer.Option("--tail", min=1, help="The last lines of each pod.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the new run; its status is the exit status.")]


@expanding(connection=connect)
def follow(connection: Connection, run_id: Run) -> None:
    """Follow a run on a cluster until it is over; its status is the exit status, as with `submit --wait`.

    With MLFLOW_TRACKING_URI set, also shows how far its tasks are, and the error of one that fails in its own words.
    """
    sys.exit(watch(Api(connection), run_id, Console()))


@expanding(connection=connect)
def logs(connection: Connection, run_id: Run, stage: Stage = None, tail: Lines = 100) -> None:
    """Show the logs of a run's pods on a cluster, as this person's kubeconfig or this pod may read them.

    Where that is not possible, shows the errors of its tasks that MLflow has (MLFLOW_TRACKING_URI), and the command for
    somebody who can.
    """
    console, api = Console(), Api(connection)
    run = get_run(api, run_id)
    found = pod_logs(api.namespace, run_id, stage, lines=tail)
    if not found:
        records = Records(partial(warn, console))
        failed = [task for task in records.tasks(run).values() if task.error and stage in (None, task.stage)]
        found = {f"{task.name}, by MLflow": records.own_words(task) or "no error is recorded" for task in failed}
        warn(console, "the logs of its pods cannot be read from here; where kubectl reaches the cluster:")
        say(console, f"  {log_command(api.namespace, run_id, stage, tail)}")
    for name, text in found.items():
        say(console, f"== {name}", text)


@expanding(connection=connect)
def cancel(connection: Connection, run_id: Run) -> None:
    """End a run on a cluster, and its run in MLflow (MLFLOW_TRACKING_URI). What is complete stays in the cache.

    Of a run in several pipeline runs any may be named: the one that goes on is ended, and no other follows.
    """
    console, api = Console(), Api(connection)
    last = segments_of(api, run_id)[-1].run_id
    cancel_run(api, last)
    with console.status("waiting for its end"):
        run = _ended(api, last)
        while (later := segments_of(api, last)[-1].run_id) != last:  # it had just been started
            cancel_run(api, later)
            last, run = later, _ended(api, later)
    say(console, f"run {last} {'was' if run.over else 'is'} {run.word}")
    if not run.over:
        say(console, f"follow it with: advantageflow runs follow {last} {api.options}")
    heal_mlflow(api, [run], console)


@expanding(connection=connect)
def retry(connection: Connection, run_id: Run, wait: Wait = False) -> None:
    """Submit again what is missing of a run that failed or was cancelled: a new run of the same pipeline and settings.

    What is complete is taken from the cache, and a training goes on from its last checkpoint in the store. With
    MLFLOW_TRACKING_URI set the new run continues the old one's run in MLflow, whose final state is then the new one's.
    """
    console, api = Console(), Api(connection)
    again = retry_run(api, run_id)
    say(console, f"run {again} started, again after run {run_id}", connection.run_page(again))
    _continue_in_mlflow(run_id, again, console)
    if wait:
        sys.exit(watch(api, again, console))


ACTIONS = {"follow": follow, "logs": logs, "cancel": cancel, "retry": retry}


def _ended(api: Api, run_id: str) -> RunStatus:
    """The run when it is over, or after a minute."""
    deadline = time.monotonic() + _SECONDS_TO_END
    run = get_run(api, run_id)
    while not run.over and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        run = get_run(api, run_id)
    return run


def _continue_in_mlflow(run_id: str, again: str, console: Console) -> None:
    """Have the new run continue the old one's run in MLflow; where that cannot be, it opens one of its own."""
    tracking_uri = os.environ.get(TRACKING_ENV)
    if not tracking_uri:
        say(console, f"with {TRACKING_ENV} set it would continue the old run in MLflow; it opens one of its own there")
        return
    from advantageflow.tracking.mlflow_store import open_client
    from advantageflow.tracking.pipeline_run import hand_over

    try:
        if hand_over(open_client(tracking_uri), run_id, again):
            say(console, "MLflow: it continues the old run there")
    except TrackingError as error:
        warn(console, f"the new run opens one of its own in MLflow. {error}")
