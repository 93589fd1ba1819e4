"""What lies in a store, published folder by published folder, with size and age: to find what nobody needs any more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from advantageflow.store.files import writing
from advantageflow.store.manifest import MANIFEST_FILE
from advantageflow.store.published import join
from advantageflow.store.s3 import is_s3
from advantageflow.store.s3_client import WRITE_ATTEMPTS, make_client, parse_url
from advantageflow.store.s3_errors import READING, REMOVING, explaining

KINDS = ("policies", "checkpoints", "conditioning", "trainjobs")  # folders of a store; others are not ours


@dataclass(frozen=True)
class Kept:
    """A folder of a store.

    Attributes:
        path: below the store.
        files: paths below the store, the manifest first.
        size: bytes.
        changed: epoch seconds, of the newest file: publishing the same again renews it.
    """

    path: str
    files: tuple[str, ...]
    size: int
    changed: float


def kept_in(store: str) -> list[Kept]:
    """All published folders of a store, and what interrupted publications left, by path.

    Args:
        store: s3://bucket/prefix, or a folder.

    Raises:
        StoreError: it cannot be listed.
    """
    found = list(_s3_files(store) if is_s3(store) else _folder_files(Path(store)))
    published = {str(PurePosixPath(path).parent) for path, _, _ in found if PurePosixPath(path).name == MANIFEST_FILE}
    by_folder: dict[str, list[tuple[str, int, float]]] = {}
    for path, size, changed in found:
        above = [str(folder) for folder in PurePosixPath(path).parents]
        by_folder.setdefault(next((one for one in above if one in published), above[0]), []).append(
            (path, size, changed)
        )
    return [_kept(folder, files) for folder, files in sorted(by_folder.items())]


def remove_kept(store: str, kept: Kept) -> None:
    """Remove a folder of a store, its manifest first, so that nobody takes what is left for whole.

    Raises:
        StoreError: it cannot be removed.
    """
    if not is_s3(store):
        folder = Path(store) / kept.path
        with writing(folder):
            (folder / MANIFEST_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder)
        return
    bucket, prefix = parse_url(store)
    client = make_client(store, WRITE_ATTEMPTS)
    for path in kept.files:  # one at a time: the request for many needs a checksum header that not all stores know
        with explaining(client, join(store, path), REMOVING):
            client.delete_object(Bucket=bucket, Key=join(prefix, path))


def _kept(folder: str, files: list[tuple[str, int, float]]) -> Kept:
    paths = sorted((path for path, _, _ in files), key=lambda path: (PurePosixPath(path).name != MANIFEST_FILE, path))
    return Kept(folder, tuple(paths), sum(size for _, size, _ in files), max(changed for _, _, changed in files))


def _folder_files(store: Path) -> Iterator[tuple[str, int, float]]:
    for kind in KINDS:
        for path in (store / kind).rglob("*"):
            if path.is_file():
                status = path.stat()
                yield path.relative_to(store).as_posix(), status.st_size, status.st_mtime


def _s3_files(store: str) -> Iterator[tuple[str, int, float]]:
    bucket, prefix = parse_url(store)
    client = make_client(store)
    for kind in KINDS:
        with explaining(client, join(store, kind), READING):
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{join(prefix, kind)}/")
            for entry in (entry for page in pages for entry in page.get("Contents", [])):
                path = entry["Key"].removeprefix(f"{prefix}/")
                yield path, entry["Size"], entry["LastModified"].timestamp()
