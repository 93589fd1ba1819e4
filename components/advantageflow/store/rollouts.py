"""A shard's artifacts: `rollouts`, the images, which are scored; `latents`, which train; `scores`, what rewards say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from advantageflow.annotations import StochasticSampler, Tensor, Trajectory
from advantageflow.errors import DataError
from advantageflow.records import (
    INDEX_FILE,
    LATENTS_FILE,
    ROLLOUTS_FILE,
    SCORES_FILE,
    TRAJECTORIES_FILE,
    Rollout,
    Score,
)
from advantageflow.store import tables
from advantageflow.store.files import METADATA_FILE, publish, read_metadata, read_tensors, write_json, write_tensors

REWARD_PREFIX = "reward_"
IMAGE_STATISTICS_KEY = "image_statistics"  # of metadata.json: mean and number by name, of the images that were scored
DROPPED_KEY = "dropped"  # of metadata.json: ids of rollouts that no score could be given; absent where there are none
_COLUMNS = {"rollout_id": "string", "prompt_id": "string", "details": "string", "version": "string"}
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
        with tables.table_writer(partial / ROLLOUTS_FILE, _INDEX | _IMAGE) as write_rows:

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
    """Publish the latents artifact of a shard, possibly empty: (N, *shape), a row for each rollout, in the same order.

    The file of `trajectories`, how each was sampled, is only there where they are given.
    """
    with publish(folder) as partial:
        tables.write_table(partial / INDEX_FILE, [_row(one) for one in rollouts], _INDEX)
        write_tensors(partial / LATENTS_FILE, {"latents": latents})
        if trajectories is not None:
            write_tensors(partial / TRAJECTORIES_FILE, _trajectory_tensors(trajectories))
        write_json(partial / METADATA_FILE, {**metadata, "rollouts": len(rollouts)})


def read_images(folder: Path) -> Iterator[tuple[Rollout, bytes]]:
    """The rollouts of a rollouts artifact with their images as PNG, in file order, a few in memory at a time.
    Raises DataError: a column is missing, or a row's rollout_id does not fit it.
    """
    path = Path(folder) / ROLLOUTS_FILE
    for number, row in enumerate(tables.iterate_table(path, _INDEX | _IMAGE)):
        yield _rollout(path, number, row), row["image"]


def read_rollouts(folder: Path) -> list[Rollout]:
    """The rollouts of a rollouts artifact without their images, in file order; raises as `read_images`."""
    path = Path(folder) / ROLLOUTS_FILE
    rows = tables.iterate_table(path, _INDEX, others=False)
    return [_rollout(path, number, row) for number, row in enumerate(rows)]


def read_index(folder: Path) -> list[Rollout]:
    """The rollouts of a latents artifact, in file order; raises as `read_images`."""
    path = Path(folder) / INDEX_FILE
    return [_rollout(path, number, row) for number, row in enumerate(tables.read_table(path, _INDEX))]


def _row(rollout: Rollout) -> dict[str, Any]:
    return {"rollout_id": rollout.rollout_id, **asdict(rollout)}


def _rollout(path: Path, number: int, row: Mapping[str, Any]) -> Rollout:
    rollout = Rollout(row["prompt_id"], row["round"], row["index"], row["seed"])
    if rollout.rollout_id != row["rollout_id"]:
        message = f"rollout_id {row['rollout_id']} does not fit its round, prompt_id and index"
        raise DataError(message, where=f"{path}: row {number}", remedy=tables.REMAKE)
    return rollout


def read_latents(folder: Path, rows: int | None = None) -> Tensor:
    """The clean latents x_0 (N, *shape) of a shard; `rows` is the number of rollouts they must belong to.
    Raises DataError: there are no latents in it, or their number is not `rows`.
    """
    path = Path(folder) / LATENTS_FILE
    tensors = read_tensors(path)
    tables.check_tensors(tensors, ["latents"], path, rows)
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
    tables.check_tensors(tensors, ["states", "log_probabilities"], path, rows)
    tables.check_tensors(tensors, ["sigmas", "noise_level"], path)
    states, log_probabilities, sigmas = (tensors[name] for name in ("states", "log_probabilities", "sigmas"))
    if states.shape[:2] != (len(log_probabilities), len(sigmas)) or log_probabilities.shape[1:] != (len(sigmas) - 1,):
        shapes = {name: tuple(tensors[name].shape) for name in ("states", "log_probabilities", "sigmas")}
        raise DataError(f"the shapes do not fit each other: {shapes}", where=str(path), remedy=tables.REMAKE)
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


def write_scores(folder: Path, scores: Sequence[Score], columns: Sequence[str], metadata: Mapping[str, Any]) -> None:
    """Publish a shard of scores, possibly empty; `columns` are the reward's columns, all present in each score."""
    rows = [
        {"rollout_id": s.rollout_id, "prompt_id": s.rollout_id.split("-")[1], "details": tables.to_json(s.details),
         "version": s.version, **{REWARD_PREFIX + column: s.rewards[column] for column in columns}}
        for s in scores
    ]  # fmt: skip
    with publish(folder) as partial:
        tables.write_table(
            partial / SCORES_FILE, rows, _COLUMNS | {REWARD_PREFIX + column: "double" for column in columns}
        )
        write_json(partial / METADATA_FILE, {**metadata, "scores": len(rows), "columns": list(columns)})


def read_scores(folder: Path) -> list[Score]:
    """The scores of a shard, in file order. Raises DataError: a column is missing or of the wrong type."""
    path = Path(folder) / SCORES_FILE
    columns = read_metadata(folder).get("columns", [])
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        where = str(Path(folder) / METADATA_FILE)
        raise DataError(f"'columns' is {columns!r:.60}, not a list of names", where=where, remedy=tables.REMAKE)
    rows = tables.read_table(path, _COLUMNS | {REWARD_PREFIX + column: "double" for column in columns})
    return [
        Score(
            rollout_id=row["rollout_id"],
            rewards={column: row[REWARD_PREFIX + column] for column in columns},
            details=tables.from_json(row["details"], path, number, "details"),
            version=row["version"],
        )
        for number, row in enumerate(rows)
    ]
