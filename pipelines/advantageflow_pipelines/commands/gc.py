"""`advantageflow gc`: removes what no registered version and no recent run needs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from advantageflow_pipelines.commands import options
from advantageflow_pipelines.say import Console, print_table, say


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
    from advantageflow.tracking.mlflow_store import open_client
    from advantageflow.tracking.registration import POLICY_TAG
    from advantageflow_pipelines.local.garbage import (
        old_copies,
        old_in_store,
        old_runs,
        registered_versions,
        rejected_versions,
    )
    from advantageflow_pipelines.local.tracking import store_uri

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
