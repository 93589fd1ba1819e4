"""The rollouts artifact: one shard of a round's images with their clean latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import DataError
from advantageflow.records import LATENTS_FILE, ROLLOUTS_FILE, Rollout
from advantageflow.store.files import METADATA_FILE, publish, read_tensors, write_json, write_tensors
from advantageflow.store.tables import REMAKE, check_tensors, read_table, write_table

if TYPE_CHECKING:
    from torch import Tensor

_COLUMNS = {
    "rollout_id": "string", "prompt_id": "string", "round": "int32", "index": "int32", "seed": "int64",
    "image": "binary",
}  # fmt: skip


def write_rollouts(folder: Path, rollouts: Sequence[Rollout], latents: Tensor, metadata: Mapping[str, Any]) -> None:
    """Publish a shard of rollouts, possibly empty; `latents` (N, C, H, W) has one row for each, in the same order."""
    rows = [
        {"rollout_id": r.rollout_id, "prompt_id": r.prompt_id, "round": r.round, "index": r.index, "seed": r.seed,
         "image": r.image}
        for r in rollouts
    ]  # fmt: skip
    with publish(folder) as partial:
        write_table(partial / ROLLOUTS_FILE, rows, _COLUMNS)
        write_tensors(partial / LATENTS_FILE, {"latents": latents})
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
    """The clean latents x_0 (N, C, H, W) of a shard; `rows` is the number of rollouts they must belong to.

    Raises:
        StoreError: the file is missing or corrupt.
        DataError: there are no latents in it, or their number is not `rows`.
    """
    path = Path(folder) / LATENTS_FILE
    tensors = read_tensors(path)
    check_tensors(tensors, ["latents"], path, rows)
    return tensors["latents"]
