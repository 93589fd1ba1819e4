"""Recorded scores: what a reward gave on golden pictures, and how far from it it may be; kept as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advantageflow.errors import DataError, SettingsError
from advantageflow.golden_checks.pictures import (
    Picture,
    PictureRecord,
    from_record,
    golden_folder,
    golden_pictures,
    to_record,
)
from advantageflow.rewards.base import Result, Reward
from advantageflow.store.files import read_json, write_json

SCORES = "scores.json"
SMALLEST_TOLERANCE = 1e-6  # float rounding differs between machines


@dataclass(frozen=True)
class Golden:
    """What a reward is held to.

    Attributes:
        pictures: what it scores.
        scores: recorded value by column, by picture; empty if nothing is recorded.
        tolerance: by column, how far a score may be from the recorded one.
        made_by: version and options that the scores were recorded with, in words.
    """

    pictures: Sequence[Picture]
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    made_by: str = ""


class _Entry(BaseModel):
    """Of one reward, as JSON; without pictures the scores are those of the golden set."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: str
    options: dict[str, Any] = {}
    tolerance: dict[str, float] = Field(min_length=1)
    scores: dict[str, dict[str, float]] = Field(min_length=1)
    pictures: dict[str, PictureRecord] | None = None


def find_golden(reward: str, file: Path | None) -> Golden:
    """What the reward of this name is held to: as the file records it, else as the package does, else nothing.

    Raises:
        StoreError: the file is missing or no JSON.
        DataError: it is not what `record` writes; names the reward and field.
    """
    own = {} if file is None else read_json(file)
    if reward in own:
        return _golden(own[reward], f"{file}: {reward}")
    shipped = read_json(Path(str(golden_folder() / SCORES)))
    return _golden(shipped[reward], f"golden set: {reward}") if reward in shipped else Golden(golden_pictures())


def check_golden_file(file: Path, rewards: Iterable[str]) -> None:
    """Say before any work whether the file records scores of one of these rewards, and of each in the right form.

    Raises:
        SettingsError: it records none of them.
        StoreError, DataError: as find_golden.
    """
    recorded = read_json(file).keys() & set(rewards)
    if not recorded:
        remedy = "record them: advantageflow rewards record --reward NAME -o FILE, or leave reward.golden away"
        message = f"{file} records scores of none of the run's rewards ({', '.join(rewards)})"
        raise SettingsError(message, where="reward.golden", remedy=remedy)
    for reward in sorted(recorded):
        find_golden(reward, file)


def record(
    file: Path,
    reward: Reward,
    name: str,
    options: Mapping[str, Any],
    pictures: Sequence[Picture],
    results: Sequence[Result],
    *,
    tolerance: float,
    with_pictures: bool,
) -> None:
    """Write a reward's scores into a file; those of other rewards in it are kept.

    Args:
        file: a JSON file, possibly there already.
        reward: the reward.
        name: what settings call it.
        options: what it was made with.
        pictures: what it scored.
        results: its scores, in the same order.
        tolerance: how far a score may be from the recorded one, as a share of the column's spread over the pictures.
        with_pictures: whether the file holds the pictures too; without, they are the golden set's.

    Raises:
        StoreError: the file cannot be read or written.
    """
    spread = {column: _spread([values[column] for values, _ in results]) for column in reward.columns}
    entry: dict[str, Any] = {
        "version": reward.version,
        "options": dict(options),
        "tolerance": {column: max(SMALLEST_TOLERANCE, tolerance * width) for column, width in spread.items()},
        "scores": {
            picture.name: {column: float(value) for column, value in values.items()}
            for picture, (values, _) in zip(pictures, results, strict=True)
        },
    }
    if with_pictures:
        entry["pictures"] = {picture.name: to_record(picture) for picture in pictures}
    before = read_json(file) if file.exists() else {}
    write_json(file, dict(sorted({**before, name: entry}.items())))


def _spread(values: Sequence[float]) -> float:
    return float(max(values) - min(values))


def _golden(value: Any, where: str) -> Golden:
    try:
        entry = _Entry.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        remedy = "write the file again with: advantageflow rewards record"
        raise DataError(message, where=where, remedy=remedy) from error
    own = entry.pictures
    pictures = [from_record(name, one, where) for name, one in own.items()] if own else golden_pictures()
    options = f" and options {entry.options}" if entry.options else ""
    return Golden(pictures, entry.scores, entry.tolerance, f"version {entry.version}{options}")
