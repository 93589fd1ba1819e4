"""Follow runs from the command line until they are over: progress, the reason of a failure, MLflow set right."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

from advantageflow.errors import ClusterError, TrackingError
from advantageflow.tracking.events import TRACKING_ENV
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.follow import Followed, follow
from advantageflow_pipelines.client.pods import pod_logs
from advantageflow_pipelines.client.records import Records
from advantageflow_pipelines.client.refusals import NotThere
from advantageflow_pipelines.client.runs import FAILED, SUCCEEDED, RunStatus, get_run
from advantageflow_pipelines.client.segments import follow_segments
from advantageflow_pipelines.client.stages import from_cache, pipeline_tasks
from advantageflow_pipelines.local.failures import RunFailed
from advantageflow_pipelines.say import Console, say, warn

_INTERRUPTED = 130  # what shells report for Ctrl-C
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
        followed = follow(api, follow_segments(api, run_id), console, records)
    except KeyboardInterrupt:
        say(console, f"\n{again}")
        return _INTERRUPTED
    except NotThere:
        raise
    except ClusterError as error:
        raise type(error)(error.message, where=error.where, remedy=f"{error.remedy}; {again}") from error
    run = followed.run
    heal_mlflow(api, [run], console)
    if run.state != SUCCEEDED:
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
    if run.state != FAILED:
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


def heal_mlflow(api: Api, runs: Iterable[RunStatus], console: Console) -> None:
    """Give runs in MLflow the status that they have in Kubeflow, and say which were changed.

    Does nothing where MLFLOW_TRACKING_URI is not set; an MLflow that is away costs a warning.

    Args:
        api: of the server that runs the pipelines.
        runs: as it has just told them; it is asked about others that are open in MLflow.
        console: where lines are printed.
    """
    tracking_uri = os.environ.get(TRACKING_ENV)
    if not tracking_uri:
        return
    from advantageflow.tracking.lifecycle import heal
    from advantageflow.tracking.mlflow_store import open_client

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
        return get_run(api, run_id).state
    except ClusterError:
        return None
