"""A shard of rollouts as two artifacts: `rollouts`, the images, which are scored, and `latents`, which train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import DataError
from advantageflow.records import INDEX_FILE, LATENTS_FILE, ROLLOUTS_FILE, TRAJECTORIES_FILE, Rollout
from advantageflow.store.files import METADATA_FILE, publish, read_tensors, write_json, write_tensors
from advantageflow.store.tables import REMAKE, check_tensors, iterate_table, read_table, table_writer, write_table

if TYPE_CHECKING:
    from torch import Tensor

    from advantageflow.flow.sde import StochasticSampler, Trajectory

LEVELS_KEY = "noise_levels"
"""Key of a latents artifact's metadata: the noise levels at which the sampler evaluated the model."""
_INDEX = {"rollout_id": "string", "prompt_id": "string", "round": "int32", "index": "int32", "seed": "int64"}
_IMAGE = {"image": "binary"}
_IN_A_GROUP = 64  # images of a Parquet row group, which is what a reader holds


def write_rollouts(
    folder: Path, rollouts: Sequence[Rollout], images: Sequence[bytes], metadata: Mapping[str, Any]
) -> None:
    """Publish the rollouts artifact of a shard, possibly empty; images are PNG, `metadata` goes into metadata.json."""
    with rollout_writer(folder, metadata) as write:
        write(rollouts, images)


@contextmanager
def rollout_writer(
    folder: Path, metadata: Mapping[str, Any]
) -> Iterator[Callable[[Sequence[Rollout], Sequence[bytes]], None]]:
    """Publish the rollouts artifact of a shard part by part: each call of what is yielded writes some rollouts and
    their images, and holds none of them afterwards. Arguments and errors as of `write_rollouts`.
    """
    count = 0
    with publish(folder) as partial:
        with table_writer(partial / ROLLOUTS_FILE, _INDEX | _IMAGE) as write_rows:

            def write(rollouts: Sequence[Rollout], images: Sequence[bytes]) -> None:
                nonlocal count
                rows = [{**_row(one), "image": image} for one, image in zip(rollouts, images, strict=True)]
                for first in range(0, len(rows), _IN_A_GROUP):
                    write_rows(rows[first : first + _IN_A_GROUP])
                count += len(rollouts)

            yield write
        write_json(partial / METADATA_FILE, {**metadata, "rollouts": count})


def write_latents(
    folder: Path,
    rollouts: Sequence[Rollout],
    latents: Tensor,
    metadata: Mapping[str, Any],
    trajectories: Trajectory | None = None,
) -> None:
    """Publish the latents artifact of a shard, possibly empty.

    Args:
        latents: (N, *shape), a row for each rollout, in the same order.
        trajectories: how each was sampled; their file is only there where they are given.
    """
    with publish(folder) as partial:
        write_table(partial / INDEX_FILE, [_row(one) for one in rollouts], _INDEX)
        write_tensors(partial / LATENTS_FILE, {"latents": latents})
        if trajectories is not None:
            write_tensors(partial / TRAJECTORIES_FILE, _trajectory_tensors(trajectories))
        write_json(partial / METADATA_FILE, {**metadata, "rollouts": len(rollouts)})


def read_images(folder: Path) -> Iterator[tuple[Rollout, bytes]]:
    """The rollouts of a rollouts artifact with their images as PNG, in file order, a few in memory at a time.
    Raises DataError: a column is missing, or a row's rollout_id does not fit it.
    """
    path = Path(folder) / ROLLOUTS_FILE
    for number, row in enumerate(iterate_table(path, _INDEX | _IMAGE)):
        yield _rollout(path, number, row), row["image"]


def read_rollouts(folder: Path) -> list[Rollout]:
    """The rollouts of a rollouts artifact without their images, in file order; raises as `read_images`."""
    path = Path(folder) / ROLLOUTS_FILE
    rows = iterate_table(path, _INDEX, others=False)
    return [_rollout(path, number, row) for number, row in enumerate(rows)]


def read_index(folder: Path) -> list[Rollout]:
    """The rollouts of a latents artifact, in file order; raises as `read_images`."""
    path = Path(folder) / INDEX_FILE
    return [_rollout(path, number, row) for number, row in enumerate(read_table(path, _INDEX))]


def _row(rollout: Rollout) -> dict[str, Any]:
    return {"rollout_id": rollout.rollout_id, **asdict(rollout)}


def _rollout(path: Path, number: int, row: Mapping[str, Any]) -> Rollout:
    rollout = Rollout(row["prompt_id"], row["round"], row["index"], row["seed"])
    if rollout.rollout_id != row["rollout_id"]:
        message = f"rollout_id {row['rollout_id']} does not fit its round, prompt_id and index"
        raise DataError(message, where=f"{path}: row {number}", remedy=REMAKE)
    return rollout


def read_latents(folder: Path, rows: int | None = None) -> Tensor:
    """The clean latents x_0 (N, *shape) of a shard; `rows` is the number of rollouts they must belong to.
    Raises DataError: there are no latents in it, or their number is not `rows`.
    """
    path = Path(folder) / LATENTS_FILE
    tensors = read_tensors(path)
    check_tensors(tensors, ["latents"], path, rows)
    return tensors["latents"]


def read_trajectories(folder: Path, rows: int | None = None) -> Trajectory:
    """The trajectories of a shard; `rows` is the number of rollouts they must belong to.
    Raises DataError: there is no such file, a tensor is missing, or their shapes do not fit each other.
    """
    from advantageflow.flow.sde import Trajectory

    path = Path(folder) / TRAJECTORIES_FILE
    if not path.exists():
        remedy = "set rollout.sampler to sde or cps and rollout.trajectories to true, and make the rollouts again"
        raise DataError("these rollouts were made without trajectories", where=str(path), remedy=remedy)
    tensors = read_tensors(path)
    check_tensors(tensors, ["states", "log_probabilities"], path, rows)
    check_tensors(tensors, ["sigmas", "noise_level"], path)
    states, log_probabilities, sigmas = (tensors[name] for name in ("states", "log_probabilities", "sigmas"))
    if states.shape[:2] != (len(log_probabilities), len(sigmas)) or log_probabilities.shape[1:] != (len(sigmas) - 1,):
        shapes = {name: tuple(tensors[name].shape) for name in ("states", "log_probabilities", "sigmas")}
        raise DataError(f"the shapes do not fit each other: {shapes}", where=str(path), remedy=REMAKE)
    sampler: StochasticSampler = "cps" if "cps" in tensors else "sde"
    return Trajectory(states, log_probabilities, sigmas, tensors["noise_level"].item(), sampler)


def _trajectory_tensors(trajectories: Trajectory) -> dict[str, Tensor]:
    import torch

    return {
        "states": trajectories.states,
        "log_probabilities": trajectories.log_probabilities,
        "sigmas": trajectories.sigmas,
        "noise_level": torch.tensor(trajectories.noise_level, dtype=torch.float64),
    } | ({"cps": torch.tensor(True)} if trajectories.sampler == "cps" else {})
