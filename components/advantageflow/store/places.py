"""Where published folders can be: below an s3:// prefix, or in a folder of a file system that the readers share."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from advantageflow.errors import StoreError
from advantageflow.store.files import publish, reading, writing
from advantageflow.store.manifest import Manifest, differing
from advantageflow.store.s3 import fetch_folder, is_s3
from advantageflow.store.s3_client import READ_ATTEMPTS, REMOVING, WRITING, explaining, make_client, parse_url
from advantageflow.store.s3_transfer import list_objects, read_object, upload_files

_GONE = (FileNotFoundError, NotADirectoryError)


class Found(NamedTuple):
    """A file of a place: its bytes, and when it was written, in epoch seconds."""

    size: int
    changed: float


class FolderPlace:
    """A folder; paths are relative to it, with slashes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self, below: str = "") -> dict[str, Found]:
        """Every file below a path, without those that are removed at the same time."""
        found = {}
        with reading(self._folder):
            for folder, _, names in os.walk(self._folder / below, onerror=_unless_gone):
                for path in (Path(folder, name) for name in names):
                    with contextlib.suppress(*_GONE):
                        of_file = path.stat()
                        relative = path.relative_to(self._folder).as_posix()
                        found[relative] = Found(of_file.st_size, of_file.st_mtime)
        return found

    def read(self, path: str) -> bytes | None:
        """The content of a small file; None where there is none."""
        file = self._folder / path
        with reading(file), contextlib.suppress(*_GONE):
            return file.read_bytes()
        return None

    def write(self, path: str, content: bytes) -> None:
        """Replace a small file, in one step."""
        file = self._folder / path
        partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(file)

    def put(self, files: Mapping[str, Path], manifest: Manifest) -> None:
        """Bring the files of a version there, given by path, into a folder of its name."""
        target = self._folder / manifest.version
        if not differing(manifest, target):
            return
        with writing(target):
            shutil.rmtree(target, ignore_errors=True)
        with publish(target) as partial:
            for path, file in files.items():
                copy = partial / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)

    def local(self, version: str, cache: Path) -> Path:
        """A local folder with the files of a version, not yet compared with the manifest."""
        return self._folder / version

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files in this order, and folders that are empty then."""
        for path in paths:
            file = self._folder / path
            with writing(file):
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                for folder in map(self._folder.joinpath, Path(path).parents):  # the last is "."
                    folder.rmdir()


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, _GONE):
        raise error


class S3Place:
    """Like FolderPlace, below an s3:// prefix."""

    def __init__(self, url: str, attempts: int) -> None:
        self._url, (self._bucket, self._prefix) = url, parse_url(url)
        self._client = make_client(url, attempts)

    def files(self, below: str = "") -> dict[str, Found]:
        under = f"{below}/" if below else ""
        found = list_objects(self._client, f"{self._url}/{below}".rstrip("/"))
        return {f"{under}{path}": Found(one.size, one.changed) for path, one in found.items()}

    def read(self, path: str) -> bytes | None:
        return read_object(self._client, f"{self._url}/{path}")

    def write(self, path: str, content: bytes) -> None:
        with explaining(self._client, f"{self._url}/{path}", WRITING):  # in one request, so it is whole or as it was
            self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{path}", Body=content)

    def put(self, files: Mapping[str, Path], manifest: Manifest) -> None:
        upload_files(self._client, f"{self._url}/{manifest.version}", files)

    def local(self, version: str, cache: Path) -> Path:
        return fetch_folder(f"{self._url}/{version}", cache)

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:  # one at a time: the request for many needs a checksum header that not all stores know
            with explaining(self._client, f"{self._url}/{path}", REMOVING):
                self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}/{path}")


Place = S3Place | FolderPlace


def place_of(url: str, attempts: int = READ_ATTEMPTS) -> Place:
    """The place that an address names: s3://bucket/prefix, or a folder; a request to S3 is sent so often before it
    fails. Raises StoreError: it is neither.
    """
    if is_s3(url):
        return S3Place(url.rstrip("/"), attempts)
    if "://" in url or not url:
        remedy = "give s3://bucket/prefix, or a folder"
        raise StoreError("nothing can be published there", where=url or "(no address)", remedy=remedy)
    return FolderPlace(Path(url))
