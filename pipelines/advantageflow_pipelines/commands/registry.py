"""`advantageflow rollback`: another champion, without a gate."""

from __future__ import annotations

from typing import Annotated

import typer

from advantageflow.errors import SettingsError
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.say import Console, say


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Registered model, such as shapes.")],
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Version that becomes champion; the one before if not given.")
    ] = None,
    runs: options.Runs = options.RUNS,
) -> None:
    """Make the champion before this one champion again, or any version."""
    from advantageflow.tracking.champion import champion, change_champion, predecessor
    from advantageflow.tracking.mlflow_store import open_client, tracking_errors
    from advantageflow_pipelines.local.tracking import store_uri

    uri = store_uri(runs)
    client = open_client(uri)
    now = champion(client, name).version
    version = str(to) if to is not None else predecessor(client, name)
    if version is None or version == now:
        what = f"version {now} is champion already" if version else "nobody was champion before"
        raise SettingsError(what, where=f"{uri}, models:/{name}", remedy="name another version with --to")
    with tracking_errors(f"{uri}, models:/{name}/{version}"):
        client.get_model_version(name, version)
    change_champion(client, name, now, version, "rolled back")
    instead = f" instead of version {now}" if now else ""
    say(Console(), f"models:/{name}@champion is version {version}{instead}")
