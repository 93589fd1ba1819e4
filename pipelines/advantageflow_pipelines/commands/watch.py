"""Follow runs from the command line, until they are over or Ctrl-C."""

from __future__ import annotations

from functools import partial

from advantageflow.errors import ClusterError
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.failure import explain
from advantageflow_pipelines.client.follow import follow
from advantageflow_pipelines.client.records import Records
from advantageflow_pipelines.client.refusals import NotThere
from advantageflow_pipelines.client.runs import SUCCEEDED
from advantageflow_pipelines.client.segments import follow_segments
from advantageflow_pipelines.client.stages import from_cache
from advantageflow_pipelines.commands.heal import heal_mlflow
from advantageflow_pipelines.local.failures import RunFailed
from advantageflow_pipelines.say import Console, say, warn

_INTERRUPTED = 130  # what shells report for Ctrl-C


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
        raise RunFailed(explain(api, followed, records), by_user=False)
    took = f" after {run.seconds:.0f} s" if run.seconds is not None else ""
    say(console, f"run {run.run_id} succeeded{took}", style="green")
    if from_cache(run):
        say(console, "the results of all stages were taken from the cache: nothing was computed in this run")
    return 0
