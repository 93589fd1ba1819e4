"""Where a published folder can be: below an s3:// prefix, or in a folder of a file system that the readers share."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from advantageflow.errors import StoreError
from advantageflow.store.files import publish, reading, writing
from advantageflow.store.manifest import MANIFEST_FILE, VERSION_PATTERN, Manifest, differing, parse_manifest
from advantageflow.store.s3 import fetch_folder, is_s3, list_objects
from advantageflow.store.s3_client import READ_ATTEMPTS, make_client, parse_url
from advantageflow.store.s3_errors import REMOVING, WRITING, explaining
from advantageflow.store.s3_transfer import read_object
from advantageflow.store.s3_upload import upload_files


class FolderPlace:
    """Holds manifest.json and, beside it, a folder of files for each version of the content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def manifest(self) -> Manifest | None:
        """The manifest that is there; None where there is none."""
        path = self._folder / MANIFEST_FILE
        if not path.exists():
            return None
        with reading(path):
            content = path.read_bytes()
        return parse_manifest(content, str(path))

    def put_files(self, files: Mapping[str, Path], manifest: Manifest) -> None:
        """Bring the files of a version there, given by path; returns when all are there and compared."""
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

    def put_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest, in one step."""
        path = self._folder / MANIFEST_FILE
        partial = path.with_name(f".{MANIFEST_FILE}.{uuid.uuid4().hex}")
        with writing(path):
            partial.write_bytes(manifest.to_json())
            partial.replace(path)

    def local(self, manifest: Manifest, cache: Path) -> Path:
        """A local folder with the files of a version, not yet compared with the manifest."""
        return self._folder / manifest.version

    def drop_manifest(self) -> None:
        """Remove the manifest, where there is one."""
        with writing(self._folder):
            (self._folder / MANIFEST_FILE).unlink(missing_ok=True)

    def drop(self, version: str | None) -> None:
        """Remove the files of a version, or of all versions; nothing else that may be there."""
        if not self._folder.is_dir():
            return
        with writing(self._folder):
            for entry in self._folder.iterdir():
                if re.fullmatch(version or VERSION_PATTERN, entry.name):
                    shutil.rmtree(entry)


class S3Place:
    """Like FolderPlace, below an s3:// prefix."""

    def __init__(self, url: str, attempts: int) -> None:
        self._bucket, self._prefix = parse_url(url)
        self._url, self._manifest_url = url, f"{url}/{MANIFEST_FILE}"
        self._client = make_client(url, attempts)

    def manifest(self) -> Manifest | None:
        content = read_object(self._client, self._manifest_url)
        return None if content is None else parse_manifest(content, self._manifest_url)

    def put_files(self, files: Mapping[str, Path], manifest: Manifest) -> None:
        upload_files(self._client, f"{self._url}/{manifest.version}", files)

    def put_manifest(self, manifest: Manifest) -> None:
        key = f"{self._prefix}/{MANIFEST_FILE}"
        with explaining(self._client, self._manifest_url, WRITING):  # in one request, so it is whole or as it was
            self._client.put_object(Bucket=self._bucket, Key=key, Body=manifest.to_json())

    def local(self, manifest: Manifest, cache: Path) -> Path:
        return fetch_folder(f"{self._url}/{manifest.version}", cache)

    def drop_manifest(self) -> None:
        self._delete(MANIFEST_FILE)

    def drop(self, version: str | None) -> None:
        with explaining(self._client, self._url, REMOVING):
            found = list_objects(self._client, self._url)
        for path in found:
            if re.match(f"{version or VERSION_PATTERN}/", path):
                self._delete(path)

    def _delete(self, path: str) -> None:
        """One object at a time: the request for many needs a checksum header that not all stores know."""
        with explaining(self._client, f"{self._url}/{path}", REMOVING):
            self._client.delete_object(Bucket=self._bucket, Key=f"{self._prefix}/{path}")


Place = S3Place | FolderPlace


def place_of(url: str, attempts: int = READ_ATTEMPTS) -> Place:
    """The place that an address names.

    Args:
        url: s3://bucket/prefix, or a folder.
        attempts: how often a request to S3 is sent before it fails.

    Raises:
        StoreError: it is neither s3://bucket/prefix nor a folder.
    """
    if is_s3(url):
        return S3Place(url.rstrip("/"), attempts)
    if "://" in url or not url:
        remedy = "give s3://bucket/prefix, or a folder"
        raise StoreError("nothing can be published there", where=url or "(no address)", remedy=remedy)
    return FolderPlace(Path(url))
