"""What a server keeps under names: asked for by name, and made where it is not there."""

from __future__ import annotations

import json
from collections.abc import Callable

from advantageflow_pipelines.client.refusals import AlreadyThere


def find_or_create(find: Callable[[], str | None], create: Callable[[], str]) -> str:
    """The id of what has a name: what `find` gives, else what `create` makes, else what somebody made meanwhile.

    Raises:
        AlreadyThere: the name is taken by something that cannot be found.
        ClusterError: as the two raise.
    """
    found = find()
    if found is not None:
        return found
    try:
        return create()
    except AlreadyThere:
        found = find()
        if found is None:
            raise
        return found


def named(name: str) -> str:
    """The filter of a list for what has this name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})
