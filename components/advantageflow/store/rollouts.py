"""The rollouts artifact: one shard of a round's images with their clean latents, and their trajectories if kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import DataError
from advantageflow.records import LATENTS_FILE, ROLLOUTS_FILE, TRAJECTORIES_FILE, Rollout
from advantageflow.store.files import METADATA_FILE, publish, read_tensors, write_json, write_tensors
from advantageflow.store.tables import REMAKE, check_tensors, read_table, write_table

if TYPE_CHECKING:
    from torch import Tensor

    from advantageflow.flow.sde import Trajectory

_COLUMNS = {
    "rollout_id": "string", "prompt_id": "string", "round": "int32", "index": "int32", "seed": "int64",
    "image": "binary",
}  # fmt: skip


def write_rollouts(
    folder: Path,
    rollouts: Sequence[Rollout],
    latents: Tensor,
    metadata: Mapping[str, Any],
    trajectories: Trajectory | None = None,
) -> None:
    """Publish a shard of rollouts, possibly empty.

    Args:
        folder: the artifact.
        rollouts: with their images.
        latents: (N, *shape), a row for each rollout, in the same order.
        metadata: what metadata.json says of them.
        trajectories: how each was sampled; their file is only there where they are given.

    Raises:
        StoreError: it cannot be written.
    """
    rows = [
        {"rollout_id": r.rollout_id, "prompt_id": r.prompt_id, "round": r.round, "index": r.index, "seed": r.seed,
         "image": r.image}
        for r in rollouts
    ]  # fmt: skip
    with publish(folder) as partial:
        write_table(partial / ROLLOUTS_FILE, rows, _COLUMNS)
        write_tensors(partial / LATENTS_FILE, {"latents": latents})
        if trajectories is not None:
            write_tensors(partial / TRAJECTORIES_FILE, _trajectory_tensors(trajectories))
        write_json(partial / METADATA_FILE, {**metadata, "rollouts": len(rows)})


def read_rollouts(folder: Path) -> list[Rollout]:
    """The rollouts of a shard, in file order.

    Raises:
        StoreError: the file is missing or corrupt.
        DataError: a column is missing, or a row's rollout_id does not fit it.
    """
    path = Path(folder) / ROLLOUTS_FILE
    rollouts = []
    for number, row in enumerate(read_table(path, _COLUMNS)):
        rollout = Rollout(row["prompt_id"], row["round"], row["index"], row["seed"], row["image"])
        if rollout.rollout_id != row["rollout_id"]:
            message = f"rollout_id {row['rollout_id']} does not fit its round, prompt_id and index"
            raise DataError(message, where=f"{path}: row {number}", remedy=REMAKE)
        rollouts.append(rollout)
    return rollouts


def read_latents(folder: Path, rows: int | None = None) -> Tensor:
    """The clean latents x_0 (N, *shape) of a shard; `rows` is the number of rollouts they must belong to.

    Raises:
        StoreError: the file is missing or corrupt.
        DataError: there are no latents in it, or their number is not `rows`.
    """
    path = Path(folder) / LATENTS_FILE
    tensors = read_tensors(path)
    check_tensors(tensors, ["latents"], path, rows)
    return tensors["latents"]


def read_trajectories(folder: Path, rows: int | None = None) -> Trajectory:
    """The trajectories of a shard; `rows` is the number of rollouts they must belong to.

    Raises:
        StoreError: the file is corrupt.
        DataError: there is no such file, a tensor is missing, or their shapes do not fit each other.
    """
    from advantageflow.flow.sde import Trajectory

    path = Path(folder) / TRAJECTORIES_FILE
    if not path.exists():
        remedy = "set rollout.sampler to sde and rollout.trajectories to true, and make the rollouts again"
        raise DataError("these rollouts were made without trajectories", where=str(path), remedy=remedy)
    tensors = read_tensors(path)
    check_tensors(tensors, ["states", "log_probabilities"], path, rows)
    check_tensors(tensors, ["sigmas", "noise_level"], path)
    states, log_probabilities, sigmas = (tensors[name] for name in ("states", "log_probabilities", "sigmas"))
    if states.shape[:2] != (len(log_probabilities), len(sigmas)) or log_probabilities.shape[1:] != (len(sigmas) - 1,):
        shapes = {name: tuple(tensors[name].shape) for name in ("states", "log_probabilities", "sigmas")}
        raise DataError(f"the shapes do not fit each other: {shapes}", where=str(path), remedy=REMAKE)
    return Trajectory(states, log_probabilities, sigmas, tensors["noise_level"].item())


def _trajectory_tensors(trajectories: Trajectory) -> dict[str, Tensor]:
    import torch

    return {
        "states": trajectories.states,
        "log_probabilities": trajectories.log_probabilities,
        "sigmas": trajectories.sigmas,
        "noise_level": torch.tensor(trajectories.noise_level, dtype=torch.float64),
    }
