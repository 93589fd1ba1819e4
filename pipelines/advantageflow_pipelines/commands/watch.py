"""Follow a run from the command line, until it is over or Ctrl-C."""

from __future__ import annotations

from contextlib import suppress

from rich.console import Console

from advantageflow.errors import ClusterError
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.follow import follow
from advantageflow_pipelines.client.runs import get_run
from advantageflow_pipelines.client.segments import follow_segments
from advantageflow_pipelines.commands.heal import heal_mlflow
from advantageflow_pipelines.local.failures import RunFailed
from advantageflow_pipelines.say import say

_INTERRUPTED = 130  # what shells report for Ctrl-C


def watch(api: Api, run_id: str, console: Console) -> int:
    """Follow a run, from one of its segments to the next.

    Returns:
        The exit status: 0 it succeeded, 130 Ctrl-C.

    Raises:
        RunFailed: it did not succeed.
        ClusterError: the server is away or refuses; says how to follow again.
    """
    again = f"the run goes on; follow it with: advantageflow runs follow {run_id} --host {api.connection.host}"
    if api.namespace:
        again += f" --namespace {api.namespace}"
    try:
        for segment in follow_segments(api, run_id):
            run = follow(api, segment, console)
    except RunFailed:
        with suppress(ClusterError):
            heal_mlflow(api, [get_run(api, run_id)], console, explain=True)
        raise
    except KeyboardInterrupt:
        say(console, f"\n{again}")
        return _INTERRUPTED
    except ClusterError as error:
        raise type(error)(error.message, where=error.where, remedy=f"{error.remedy}; {again}") from error
    took = f" after {run.seconds:.0f} s" if run.seconds is not None else ""
    say(console, f"run {run.run_id} succeeded{took}", style="green")
    if run.from_cache:
        say(console, "the results of all stages were taken from the cache: nothing was computed in this run")
    heal_mlflow(api, [run], console)
    return 0
