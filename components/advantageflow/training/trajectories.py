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
from advantageflow.records import TRAJECTORIES_FILE, Rollout
from advantageflow.store.rollouts import read_trajectories

_AGAIN = "make the rollouts of all shards again, with the same settings"


class Sample(NamedTuple):
    """A rollout, and where it is stored.

    Attributes:
        shard: folder of its shard's latents artifact.
        row: its index in the shard's files.
        rollout: which it is.
        latent: its clean latent.
    """

    shard: Path
    row: int
    rollout: Rollout
    latent: Tensor

    @property
    def place(self) -> str:
        return f"{self.shard}: rollout {self.rollout.rollout_id}"


def join_trajectories(samples: Sequence[Sample]) -> Trajectory:
    """The trajectories of a round's rollouts, which must end in their clean latents.

    Args:
        samples: all rollouts of the shards.

    Returns:
        In the order of `samples`.

    Raises:
        StoreError: a file is corrupt.
        DataError: a file is missing, differs from the others in its noise levels, or holds a trajectory that is not
            finite or not that of its rollout; names the file, and the rollout.
    """
    sizes = Counter(sample.shard for sample in samples)
    parts = {shard: read_trajectories(shard, rows=size) for shard, size in sizes.items()}
    _check_one_grid(parts)
    starts, start = {}, 0
    for shard, size in sizes.items():
        starts[shard], start = start, start + size
    order = torch.tensor([starts[sample.shard] + sample.row for sample in samples])
    joined = concatenate(list(parts.values())).rows(order)
    names = [f"{one.shard / TRAJECTORIES_FILE}: rollout {one.rollout.rollout_id}" for one in samples]
    check_finite(joined.states, names, "trajectory", DataError)
    check_finite(joined.log_probabilities, names, "log-probability", DataError)
    for name, sample, end in zip(names, samples, joined.states[:, -1], strict=True):
        if joined.sigmas[-1] == 0 and not (end == sample.latent).all():
            raise DataError("its trajectory does not end in its latent", where=name, remedy=_AGAIN)
    return joined


def _check_one_grid(parts: dict[Path, Trajectory]) -> None:
    (first_shard, first), *others = parts.items()
    for shard, part in others:
        told = (part.noise_level, part.sampler)
        if not torch.equal(part.sigmas, first.sigmas) or told != (first.noise_level, first.sampler):
            message = f"its noise levels are not those of {first_shard}"
            raise DataError(message, where=str(shard / TRAJECTORIES_FILE), remedy=_AGAIN)
