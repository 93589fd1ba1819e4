"""`advantageflow sync`: what MLflow lacks of a run on this machine."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from advantageflow_pipelines.commands import options
from advantageflow_pipelines.say import Console, say, warn

_HOUR = 3600.0


def sync(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's working folder.")],
    runs: options.Runs = options.RUNS,
) -> None:
    """Bring to MLflow what it lacks of a run that has ended, as when it was away; nothing is written twice.

    A run that was killed outright and will not be continued is ended there too.
    """
    from advantageflow_pipelines.local.tracking import sync_run, tracking_uri
    from advantageflow_pipelines.local.workdir import open_workdir

    console = Console()
    place, settings = open_workdir(run)
    uri = tracking_uri(place, runs)
    if not sync_run(place, settings, uri, partial(warn, console), _HOUR):
        sys.exit(1)
    say(console, f"MLflow has all of {place.root.name}: {uri}")
