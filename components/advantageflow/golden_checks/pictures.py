"""Pictures with their prompts (the golden set, folders of a user's own), and what rewards gave on them, as JSON."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advantageflow.errors import DataError, SettingsError, StoreError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, Reward
from advantageflow.rewards.plumbing.results import MOST_PIXELS, decode_image
from advantageflow.store.files import read_json, write_json

SCORES = "scores.json"
SMALLEST_TOLERANCE = 1e-6  # float rounding differs between machines
PROMPTS = "prompts.jsonl"
_LARGEST = 3 * MOST_PIXELS + 1_000_000  # bytes of a picture, or of prompts.jsonl
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_EXAMPLE = 'write one {"image": "a.png", "text": "a red circle", "spec": {...}} a line'


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what it should show."""

    name: str  # the file's name without its suffix; unique in a set
    prompt: Prompt  # what rewards judge it by
    image: np.ndarray  # uint8 array (H, W, 3)


class PictureRecord(BaseModel):
    """A picture as JSON: `image` is a file's name, or the PNG itself in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image: str
    text: str
    task: str = "all"
    spec: dict[str, Any] = {}

    @classmethod
    def of(cls, picture: Picture) -> Self:
        """The picture with its pixels."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(picture.image).save(buffer, format="PNG", optimize=True)
        prompt = picture.prompt
        png = base64.b64encode(buffer.getvalue()).decode()
        return cls(image=png, text=prompt.text, task=prompt.task, spec=prompt.spec)

    def picture(self, name: str, where: str, content: bytes | None = None) -> Picture:
        """The picture; `where` holds the record, `content` is that of the file that `image` names, None if it is the
        PNG. Raises DataError: it cannot be decoded.
        """
        try:
            content = base64.b64decode(self.image, validate=True) if content is None else content
        except ValueError as error:
            raise DataError(f"'image' is not base64: {error}", where=where, remedy="record the scores again") from error
        return Picture(name, Prompt(self.text, "eval", self.task, self.spec), _decode(content, where))


def golden_pictures() -> list[Picture]:
    """The golden set: scenes of shapes (48 x 48) and drawn texts (192 x 192), some as their prompts say, some not."""
    return list(_listed_pictures(golden_folder(), "golden set"))


def golden_folder() -> Traversable:
    """Where the golden set is in the installed package."""
    return files(__package__) / "golden"


def folder_pictures(folder: Path) -> list[Picture]:
    """The pictures of a folder. Raises DataError: there are no pictures, one cannot be read or decoded, or a line is
    wrong; names the file and line.

    Those that the folder's prompts.jsonl names, one {"image", "text", "task", "spec"} a line; without that file all of
    its .png, .jpg, .jpeg and .webp files in the order of their names, which are their prompts.
    """
    try:
        if (folder / PROMPTS).exists():
            pictures = list(_listed_pictures(folder, str(folder / PROMPTS)))
        else:
            paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
            prompts = [Prompt(path.stem.replace("_", " "), "eval", "all") for path in paths]
            pictures = [
                Picture(path.stem, prompt, _decode(_content(path), path))
                for path, prompt in zip(paths, prompts, strict=True)
            ]
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {error}"
        raise DataError(message, where=str(folder), remedy=f"give a folder of pictures; {PROMPTS} is UTF-8") from error
    twice = [name for name, count in Counter(one.name for one in pictures).items() if count > 1]
    if twice or not pictures:
        message = f"duplicate picture '{twice[0]}'" if twice else "holds no pictures"
        remedy = "name each picture differently" if twice else f"put in files that end in {', '.join(_SUFFIXES)}"
        raise DataError(message, where=str(folder), remedy=remedy)
    return pictures


def _listed_pictures(folder: Traversable, where: str) -> Iterator[Picture]:
    """The pictures of a folder that its prompts.jsonl names."""
    for number, line in enumerate(_content(folder / PROMPTS).decode().splitlines(), start=1):
        place = f"{where}:{number}"
        try:
            record = PictureRecord.model_validate_json(line)
            if {"..", ""} & {*record.image.split("/")} or "\0" in record.image:
                raise OSError(0, "not the name of a file in this folder")
            content = _content(folder / record.image)
        except ValidationError as error:
            first = error.errors()[0]
            message = f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
            raise DataError(message, where=place, remedy=_EXAMPLE) from error
        except OSError as error:
            message = f"picture '{record.image}' cannot be read: {error.strerror}"
            raise DataError(message, where=place, remedy="put the picture beside prompts.jsonl") from error
        yield record.picture(Path(record.image).stem, place, content)


def _content(file: Traversable) -> bytes:
    """Of a file that is no larger than any picture that can be judged."""
    with file.open("rb") as opened:
        content = opened.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise OSError(0, f"larger than {_LARGEST:,} bytes")
    return content


def _decode(content: bytes, where: str | Path) -> np.ndarray:
    try:
        return decode_image(content)
    except ValueError as error:
        remedy = "give a PNG, JPEG or WebP file"
        raise DataError(f"the picture cannot be decoded: {error}", where=str(where), remedy=remedy) from error


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
