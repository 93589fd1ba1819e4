"""Whether a run can finish on Kubeflow, and in how many rounds and shards it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.footprint import LIMIT, Footprint, footprint

if TYPE_CHECKING:
    from advantageflow_pipelines.placing.cluster import ClusterRun

CLOSE = 0.97  # share of the limit from which attempts after the first, and what is not known, may be too much


def check_fits(run: ClusterRun, taken: Footprint) -> str | None:
    """Check that a run can finish.

    Args:
        run: what is sent.
        taken: its footprint.

    Returns:
        A warning, if there is little room.

    Raises:
        SettingsError: Argo could not keep it to the end; the remedy is a run that can.
    """
    if taken.size > LIMIT:
        message = f"this run cannot finish on Kubeflow: {taken}"
        raise SettingsError(message, where="rounds, rollout.shards", remedy=_remedy(run, taken.size))
    if taken.size > CLOSE * LIMIT:
        return f"there is little room: {taken}. Fewer rounds or shards are safer; continue with --init-policy"
    return None


def _remedy(run: ClusterRun, size: int) -> str:
    rounds, shards = run.settings.rounds, run.settings.rollout.shards

    def with_rounds(number: int) -> int:
        return footprint(run.with_size(rounds=number, shards=shards).package()).size

    def with_shards(number: int) -> int:
        return footprint(run.with_size(rounds=rounds, shards=number).package()).size

    ways = []
    if fewer := _most(with_rounds, rounds, size):
        ways.append(f"at most {fewer} rounds (--rounds {fewer})")
    if fewer := _most(with_shards, shards, size):
        ways.append(f"{rounds} rounds of {fewer} shards (--set rollout.shards={fewer})")
    if not ways:
        return "run fewer rounds of fewer shards, and continue from the last policy with --init-policy in the next run"
    return f"run {', or '.join(ways)}, and continue from its last policy with --init-policy in the next run"


def _most(size_of: Callable[[int], int], number: int, size: int) -> int:
    """The largest number below `number`, which takes `size`, that fits with some room; 0 if there is none.

    Between 1 and `number` sizes grow evenly, or nearly so: what that gives is tried, and lowered until it fits.
    """
    room = CLOSE * LIMIT
    smallest = size_of(1) if number > 1 else size
    if smallest > room:
        return 0
    found = min(number - 1, 1 + int((number - 1) * (room - smallest) / (size - smallest)))
    while found > 1 and size_of(found) > room:
        found -= 1
    return found
