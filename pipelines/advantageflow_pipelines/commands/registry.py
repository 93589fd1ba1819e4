"""`advantageflow rollback` and `gc`: another champion without a gate, and what no registered version needs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from advantageflow.errors import SettingsError
from advantageflow.suggestions import suggest
from advantageflow.tracking.mlflow_store import open_client
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.local.tracking import store_uri
from advantageflow_pipelines.say import Console, print_table, say


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Registered model, such as shapes.")],
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Version that becomes champion; the one before if not given.")
    ] = None,
    runs: options.Runs = options.RUNS,
) -> None:
    """Make the champion before this one champion again, or any version."""
    from advantageflow.tracking.champion import champion, change_champion, predecessor
    from advantageflow_pipelines.local.garbage import registered_versions

    uri = store_uri(runs)
    client = open_client(uri)
    registered: dict[str, list[str]] = {}
    for one in registered_versions(client):
        registered.setdefault(one.name, []).append(str(one.version))
    if name not in registered:
        remedy = suggest(name, registered, what="registered models")
        raise SettingsError(f"there is no registered model '{name}'", where=uri, remedy=remedy)
    now = champion(client, name).version
    version = str(to) if to is not None else predecessor(client, name)
    if version is None or version == now:
        what = f"version {now} is champion already" if version else "nobody was champion before"
        raise SettingsError(what, where=f"{uri}, models:/{name}", remedy="name another version with --to")
    if version not in registered[name]:
        remedy = f"choose one of {', '.join(registered[name])}"
        raise SettingsError(f"there is no version {version}", where=f"{uri}, models:/{name}", remedy=remedy)
    change_champion(client, name, now, version, "rolled back")
    instead = f" instead of version {now}" if now else ""
    say(Console(), f"models:/{name}@champion is version {version}{instead}")


def gc(
    runs: options.Runs = options.RUNS,
    store: Annotated[
        str | None, typer.Option("--store", help="Also in this store: a folder or s3://bucket/prefix, as store.url.")
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0, help="What is no older is kept.")] = 30,
    newest: Annotated[int, typer.Option("--newest", min=0, help="So many runs are kept, however old.")] = 3,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Also registered versions that a gate kept from promotion.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this, only say what would go.")] = False,
) -> None:
    """Say what nobody needs any more, and with --delete remove it.

    Of old runs the reports stay, and the last policy unless it is registered; of a store the registered policies stay.
    No champion, present or former, is touched.
    """
    from advantageflow.tracking.registration import POLICY_TAG
    from advantageflow_pipelines.local.garbage import (
        old_copies,
        old_in_store,
        old_runs,
        registered_versions,
        rejected_versions,
    )

    console, client = Console(), open_client(store_uri(runs))
    versions = registered_versions(client)
    registered = {version.tags[POLICY_TAG] for version in versions if POLICY_TAG in version.tags}
    found = [*old_runs(runs, newest, days, registered), *old_copies(days)]
    found += old_in_store(store, days, registered) if store else ()
    found += rejected_versions(client, versions, days) if rejected else ()
    if not found:
        say(console, "nothing to remove")
        return
    table = Table("what", Column("MB", justify="right"), "why")
    for one in found:
        table.add_row(one.what, f"{one.size / 1e6:.1f}" if one.size else "", one.why)
        if delete:
            one.remove()
    print_table(console, table)
    total = f"{sum(one.size for one in found) / 1e6:,.1f} MB"
    say(console, f"removed {total}" if delete else f"{total} would go; remove it with --delete")
