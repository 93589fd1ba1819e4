"""Sample pictures with their prompts: the golden set that comes with the package, and folders of a user's own."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from advantageflow.errors import DataError
from advantageflow.records import Prompt
from advantageflow.store.files import reading

if TYPE_CHECKING:
    import numpy as np

PROMPTS = "prompts.jsonl"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_EXAMPLE = 'write one {"image": "a.png", "text": "a red circle", "spec": {...}} a line'


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what it should show.

    Attributes:
        name: the file's name without its suffix; unique in a set.
        prompt: what rewards judge it by.
        image: uint8 array (H, W, 3).
    """

    name: str
    prompt: Prompt
    image: np.ndarray


class PictureRecord(BaseModel):
    """A picture as JSON: `image` is a file's name, or the PNG itself in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image: str
    text: str
    task: str = "all"
    spec: dict[str, Any] = {}

    @property
    def prompt(self) -> Prompt:
        """The prompt of the picture."""
        return Prompt(self.text, "eval", self.task, self.spec)


def golden_pictures() -> list[Picture]:
    """The golden set: scenes of shapes (48 x 48) and drawn texts (192 x 192), some as their prompts say, some not."""
    folder = golden_folder()
    return [_load(folder, record, f"golden set, {record.image}") for record, _ in _records(folder, PROMPTS)]


def golden_folder() -> Traversable:
    """Where the golden set is in the installed package."""
    return files(__package__) / "golden"


def folder_pictures(folder: Path, prompts: Sequence[Prompt] = ()) -> list[Picture]:
    """The pictures of a folder (.png, .jpg, .jpeg, .webp), in the order of their names.

    Their prompts are those of the folder's prompts.jsonl, one {"image", "text", "task", "spec"} a line; without that
    file, the given prompts in turn; without any, the files' names.

    Raises:
        DataError: there are no pictures, one cannot be decoded, or a line is wrong; names the file and line.
        StoreError: the folder cannot be read.
    """
    with reading(folder):
        names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        listed = (folder / PROMPTS).exists()
    if listed:
        pictures = [_load(folder, record, where) for record, where in _records(folder, str(folder / PROMPTS))]
    else:
        texts = prompts or [Prompt(Path(name).stem.replace("_", " "), "eval", "all") for name in names]
        pictures = [
            Picture(Path(name).stem, texts[number % len(texts)], _decode((folder / name).read_bytes(), folder / name))
            for number, name in enumerate(names)
        ]
    twice = sorted({one.name for one in pictures if sum(other.name == one.name for other in pictures) > 1})
    if twice or not pictures:
        message = f"duplicate picture '{twice[0]}'" if twice else "holds no pictures"
        remedy = "name each picture differently" if twice else f"put in files that end in {', '.join(_SUFFIXES)}"
        raise DataError(message, where=str(folder), remedy=remedy)
    return pictures


def to_record(picture: Picture) -> dict[str, Any]:
    """The picture as JSON that holds its pixels."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.image).save(buffer, format="PNG", optimize=True)
    prompt = picture.prompt
    png = base64.b64encode(buffer.getvalue()).decode()
    return {"text": prompt.text, "task": prompt.task, "spec": prompt.spec, "image": png}


def from_record(name: str, record: PictureRecord, where: str) -> Picture:
    """The picture that to_record wrote.

    Raises:
        DataError: it cannot be decoded.
    """
    try:
        png = base64.b64decode(record.image, validate=True)
    except ValueError as error:
        raise DataError(f"'image' is not base64: {error}", where=where, remedy="record the scores again") from error
    return Picture(name, record.prompt, _decode(png, where))


def _records(folder: Traversable, where: str) -> Iterator[tuple[PictureRecord, str]]:
    for number, line in enumerate((folder / PROMPTS).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield PictureRecord.model_validate_json(line), f"{where}:{number}"
        except ValidationError as error:
            first = error.errors()[0]
            message = f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
            raise DataError(message, where=f"{where}:{number}", remedy=_EXAMPLE) from error


def _load(folder: Traversable, record: PictureRecord, where: str) -> Picture:
    try:
        png = (folder / record.image).read_bytes()
    except OSError as error:
        message = f"picture '{record.image}' cannot be read: {error.strerror}"
        raise DataError(message, where=where, remedy="put the picture beside prompts.jsonl") from error
    return Picture(Path(record.image).stem, record.prompt, _decode(png, where))


def _decode(data: bytes, where: str | Path) -> np.ndarray:
    """The pixels (H, W, 3), uint8."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken pictures
        remedy = "give a PNG, JPEG or WebP file"
        raise DataError(f"the picture cannot be decoded: {error}", where=str(where), remedy=remedy) from error
