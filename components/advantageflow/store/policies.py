"""The policy artifact's state: which round and step, with an adapter or without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advantageflow.errors import PolicyError, StoreError
from advantageflow.records import STATE_FILE
from advantageflow.store.files import read_json


def read_policy_state(folder: Path) -> dict[str, Any]:
    """The state.json of a policy folder.

    Raises:
        PolicyError: the folder is no policy, or its state is corrupt.
    """
    path = Path(folder) / STATE_FILE
    remedy = "give the folder of a complete policy; one that was interrupted has to be trained again"
    try:
        state = read_json(path)
    except StoreError as error:
        raise PolicyError(f"not a policy: {error.message}", where=str(path), remedy=remedy) from error
    for key, kind in {"round": int, "step": int, "adapter": str | None, "policy_sha256": str | None}.items():
        if key not in state or not isinstance(state[key], kind):
            raise PolicyError(f"not a policy: '{key}' is missing or of the wrong type", where=str(path), remedy=remedy)
    if state["adapter"] not in (None, "policy"):
        raise PolicyError(f"unknown adapter '{state['adapter']}'", where=str(path), remedy=remedy)
    return state


def rounds_before(state: Mapping[str, Any]) -> int:
    """Rounds of the runs that the policy's run continues; what is drawn in a round goes on from there.

    So a chain of runs with one seed repeats neither prompts nor noise: it is what one long run would have been.

    Args:
        state: as `read_policy_state` gives it.
    """
    return int(state.get("rounds_before", 0))
