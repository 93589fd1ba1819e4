"""The manifest of a published folder: which files belong to it, how large they are, and what is in them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from advantageflow.errors import StoreError
from advantageflow.json_text import parse_json
from advantageflow.store.files import reading

MANIFEST_FILE = "manifest.json"
FORMAT_VERSION = 1
_VERSION_DIGITS = 32
VERSION_PATTERN = f"[0-9a-f]{{{_VERSION_DIGITS}}}"
_AGAIN = "publish the folder there again"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PublishedFile(_Part):
    """One file."""

    path: str = Field(min_length=1)  # relative, with slashes
    size: int = Field(ge=0)  # bytes
    sha256: str = Field(pattern="^[0-9a-f]{64}$")  # of the content

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if any(part in ("", ".", "..") for part in self.path.split("/")):
            raise ValueError(f"'{self.path}' is not a path below a folder")
        return self


class Manifest(_Part):
    """All files of a published folder."""

    format_version: Literal[1]  # of this description and of where the files are
    version: str  # name of the content, made of the files: the folder beside the manifest that they are in
    files: Annotated[tuple[PublishedFile, ...], Field(strict=False, min_length=1)]  # in order of their paths

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.version != _version(self.files):
            raise ValueError("the version is not that of the files")
        return self

    def to_json(self) -> bytes:
        """As the bytes of manifest.json."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its path there. Raises StoreError: there is no such folder, or it has no files."""
    remedy = "give the folder of a complete artifact"
    if not folder.is_dir():
        raise StoreError("there is no such folder to publish", where=str(folder), remedy=remedy)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    if not files:
        raise StoreError("there are no files to publish", where=str(folder), remedy=remedy)
    return files


def manifest_of(files: Mapping[str, Path]) -> Manifest:
    """The manifest of files by their path in what is published. Raises StoreError: a file cannot be read."""
    described = tuple(_described(path, file) for path, file in sorted(files.items()))
    return Manifest(format_version=1, version=_version(described), files=described)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read manifest.json. Raises StoreError: it is not a manifest, is damaged, or of a newer format."""
    try:
        value = parse_json(content)
    except ValueError as error:
        raise StoreError(f"the manifest is damaged ({error})", where=where, remedy=_AGAIN) from error
    found = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(found, int) and found > FORMAT_VERSION:
        remedy = "read it with the version of AdvantageFlow that published it, or a newer one"
        raise StoreError(f"the folder was published in format {found}, unknown here", where=where, remedy=remedy)
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "manifest"
        raise StoreError(f"not the manifest of a published folder: {field}: {first['msg']}", where=where,
                         remedy=_AGAIN) from error  # fmt: skip


def differing(manifest: Manifest, folder: Path) -> list[Path]:
    """The files of a local copy that are missing or are not what the manifest says."""
    return [folder / one.path for one in manifest.files if not _is_there(folder, one)]


def _is_there(folder: Path, file: PublishedFile) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.size and _described(file.path, path) == file


def _described(path: str, file: Path) -> PublishedFile:
    with reading(file), file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        return PublishedFile(path=path, size=content.tell(), sha256=sha256)


def _version(files: tuple[PublishedFile, ...]) -> str:
    text = "".join(f"{one.sha256} {one.size} {PurePosixPath(one.path)}\n" for one in files)
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_DIGITS]
