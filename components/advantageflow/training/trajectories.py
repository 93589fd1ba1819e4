"""A round's trajectories: how each rollout was sampled, joined from all shards and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from advantageflow.errors import DataError
from advantageflow.flow.sde import Trajectory, concatenate
from advantageflow.policy.divergence import check_finite
from advantageflow.records import TRAJECTORIES_FILE
from advantageflow.store.rollouts import read_trajectories

_AGAIN = "make the rollouts of all shards again, with the same settings"


class Origin(NamedTuple):
    """Where a rollout is stored.

    Attributes:
        shard: folder of its shard's latents artifact.
        row: its index in the shard's files.
        rollout_id: what it is called.
    """

    shard: Path
    row: int
    rollout_id: str


def join_trajectories(origins: Sequence[Origin], latents: Tensor) -> Trajectory:
    """The trajectories of a round's rollouts, in the order of `origins`.

    Args:
        origins: of all rollouts of the shards.
        latents: their clean latents, in which the trajectories must end.

    Raises:
        StoreError: a file is corrupt.
        DataError: a file is missing, differs from the others in its noise levels, or holds a trajectory that is not
            finite or not that of its rollout; names the file, and the rollout.
    """
    sizes = Counter(origin.shard for origin in origins)
    parts = {shard: read_trajectories(shard, rows=size) for shard, size in sizes.items()}
    _check_one_grid(parts)
    starts, start = {}, 0
    for shard, size in sizes.items():
        starts[shard], start = start, start + size
    order = torch.tensor([starts[origin.shard] + origin.row for origin in origins])
    joined = concatenate(list(parts.values())).rows(order)
    names = [f"{origin.shard / TRAJECTORIES_FILE}: rollout {origin.rollout_id}" for origin in origins]
    check_finite(joined.states, names, "trajectory", DataError)
    check_finite(joined.log_probabilities, names, "log-probability", DataError)
    for name, same in zip(names, (joined.states[:, -1] == latents).flatten(1).all(1).tolist(), strict=True):
        if not same:
            raise DataError("its trajectory does not end in its latent", where=name, remedy=_AGAIN)
    return joined


def _check_one_grid(parts: dict[Path, Trajectory]) -> None:
    (first_shard, first), *others = parts.items()
    for shard, part in others:
        if not torch.equal(part.sigmas, first.sigmas) or part.noise_level != first.noise_level:
            message = f"its noise levels are not those of {first_shard}"
            raise DataError(message, where=str(shard / TRAJECTORIES_FILE), remedy=_AGAIN)
