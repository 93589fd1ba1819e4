"""The scores artifact: what the reward says of one shard of rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advantageflow.errors import DataError
from advantageflow.records import SCORES_FILE, Score
from advantageflow.store.files import METADATA_FILE, publish, read_metadata, write_json
from advantageflow.store.tables import REMAKE, from_json, read_table, to_json, write_table

REWARD_PREFIX = "reward_"
IMAGE_STATISTICS_KEY = "image_statistics"  # of metadata.json: mean and number by name, of the images that were scored
DROPPED_KEY = "dropped"  # of metadata.json: ids of rollouts that no score could be given; absent where there are none
_COLUMNS = {"rollout_id": "string", "prompt_id": "string", "details": "string", "version": "string"}


def write_scores(folder: Path, scores: Sequence[Score], columns: Sequence[str], metadata: Mapping[str, Any]) -> None:
    """Publish a shard of scores, possibly empty; `columns` are the reward's columns, all present in each score."""
    rows = [
        {"rollout_id": s.rollout_id, "prompt_id": s.rollout_id.split("-")[1], "details": to_json(s.details),
         "version": s.version, **{REWARD_PREFIX + column: s.rewards[column] for column in columns}}
        for s in scores
    ]  # fmt: skip
    with publish(folder) as partial:
        write_table(partial / SCORES_FILE, rows, _COLUMNS | {REWARD_PREFIX + column: "double" for column in columns})
        write_json(partial / METADATA_FILE, {**metadata, "scores": len(rows), "columns": list(columns)})


def read_scores(folder: Path) -> list[Score]:
    """The scores of a shard, in file order. Raises DataError: a column is missing or of the wrong type."""
    path = Path(folder) / SCORES_FILE
    columns = read_metadata(folder).get("columns", [])
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        where = str(Path(folder) / METADATA_FILE)
        raise DataError(f"'columns' is {columns!r:.60}, not a list of names", where=where, remedy=REMAKE)
    rows = read_table(path, _COLUMNS | {REWARD_PREFIX + column: "double" for column in columns})
    return [
        Score(
            rollout_id=row["rollout_id"],
            rewards={column: row[REWARD_PREFIX + column] for column in columns},
            details=from_json(row["details"], path, number, "details"),
            version=row["version"],
        )
        for number, row in enumerate(rows)
    ]
