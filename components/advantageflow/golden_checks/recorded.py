"""Recorded scores: what a reward gave on golden pictures, and how far from it it may be; kept as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advantageflow.errors import DataError, SettingsError, StoreError
from advantageflow.golden_checks.pictures import Picture, PictureRecord, golden_folder, golden_pictures
from advantageflow.rewards.base import Result, Reward
from advantageflow.store.files import read_json, write_json

SCORES = "scores.json"
SMALLEST_TOLERANCE = 1e-6  # float rounding differs between machines


class Recorded(BaseModel):
    """What a reward of this version and these options gave, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: str
    options: dict[str, Any] = {}
    tolerance: dict[str, float] = Field(min_length=1)  # by column, how far a score may be from the recorded one
    scores: dict[str, dict[str, float]] = Field(min_length=1)  # value by column, by picture
    pictures: dict[str, PictureRecord] | None = None  # by name; None if they are the golden set's


def find_golden(reward: str, file: Path | None) -> tuple[list[Picture], Recorded | None]:
    """The pictures that the reward of this name is held to, and its scores as the file, or else the package, has them.
    Raises DataError: the file is missing, or is not what `record` writes; names the reward and field.
    """
    own = {} if file is None else _read(file)
    entries, source = (own, file) if reward in own else (read_json(Path(str(golden_folder() / SCORES))), "golden set")
    if reward not in entries:
        return golden_pictures(), None
    where = f"{source}: {reward}"
    try:
        recorded = Recorded.model_validate(entries[reward])
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        remedy = "write the file again with: advantageflow rewards record"
        raise DataError(message, where=where, remedy=remedy) from error
    if recorded.pictures is None:
        return golden_pictures(), recorded
    return [one.picture(name, where) for name, one in recorded.pictures.items()], recorded


def check_golden_file(file: Path, rewards: Iterable[str]) -> None:
    """Say before any work whether the file records scores of one of these rewards, and of each in the right form.

    Raises:
        SettingsError: it records none of them.
        DataError: as find_golden.
    """
    recorded = _read(file).keys() & set(rewards)
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
    """Write a reward's scores (results) of pictures into a JSON file; those of other rewards in it are kept.

    A score may be from the recorded one by `tolerance`, a share of the column's spread over the pictures, which the
    file holds too if `with_pictures`; without, they are the golden set's. Raises DataError, StoreError: the file cannot
    be read, or written.
    """
    scores = {
        picture.name: {column: float(value) for column, value in values.items()}
        for picture, (values, _) in zip(pictures, results, strict=True)
    }
    columns = {column: [values[column] for values in scores.values()] for column in reward.columns}
    entry = Recorded(
        version=reward.version,
        options=dict(options),
        tolerance={
            column: max(SMALLEST_TOLERANCE, tolerance * (max(values) - min(values)))
            for column, values in columns.items()
        },
        scores=scores,
        pictures={picture.name: PictureRecord.of(picture) for picture in pictures} if with_pictures else None,
    )
    before = _read(file) if file.exists() else {}
    write_json(file, dict(sorted({**before, name: entry.model_dump(exclude_none=True)}.items())))


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except StoreError as error:
        remedy = "give a file that `advantageflow rewards record` wrote, or has yet to write"
        raise DataError(error.message, where=error.where, remedy=remedy) from error
