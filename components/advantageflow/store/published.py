"""Folders published for others to read, whole or not at all, at an s3:// address or in a shared folder.

    URL/manifest.json       which version is published: path, size and sha256 of each of its files
    URL/<version>/...       its files; the version is a hash of what the manifest says of them

The manifest is written last and in one step, and files of different content never share a name. So whoever reads the
manifest finds all of one version: before another content is published the old one, afterwards the new one, and never a
mix, nor a moment with nothing. What an interrupted publication left behind is in the way of nobody, and is used when
the same folder is published again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from advantageflow.errors import StoreError
from advantageflow.store.manifest import MANIFEST_FILE, Manifest, differing, files_of, manifest_of
from advantageflow.store.places import Place, place_of
from advantageflow.store.s3 import cache_folder, is_s3
from advantageflow.store.s3_client import WRITE_ATTEMPTS
from advantageflow.store.s3_errors import MissingObject

_TRIES = 3  # of reading what is replaced at the same time, or is damaged on the way


def join(url: str, *parts: str) -> str:
    """The address of something below another."""
    return "/".join([url.rstrip("/"), *parts])


def publish_folder(folder: Path, url: str) -> str:
    """Publish every file of a folder, in place of what was published there before.

    Files that are there already, as when the same content is published again, are compared and not sent.

    Args:
        folder: local.
        url: s3://bucket/prefix, or a folder.

    Returns:
        The version that is published now.

    Raises:
        StoreError: the folder has no files; nothing can be written there; says why. Readers see what was published
            before, or nothing.
    """
    return publish_files(files_of(folder), url)


def publish_files(files: Mapping[str, Path], url: str) -> str:
    """Publish files by their path in what is published, from whatever folders; see `publish_folder`."""
    manifest = manifest_of(files)
    place = place_of(url, WRITE_ATTEMPTS)
    earlier = place.manifest()
    place.put_files(files, manifest)
    place.put_manifest(manifest)
    if earlier is not None and earlier.version != manifest.version:
        place.drop(earlier.version)
    return manifest.version


def publish_in_version(files: Mapping[str, Path], url: str) -> str:
    """Publish files as `publish_files`, in a folder below the address that is named as their content, beside others.

    Returns:
        The folder that holds the files.
    """
    manifest = manifest_of(files)
    url = join(url, manifest.version)
    place = place_of(url, WRITE_ATTEMPTS)
    place.put_files(files, manifest)
    place.put_manifest(manifest)
    return join(url, manifest.version)


def is_published(url: str) -> bool:
    """Whether a folder is published there.

    Raises:
        StoreError: it cannot be known.
    """
    return place_of(url).manifest() is not None


def fetch_published(url: str, cache: Path) -> Path:
    """A local copy of a published folder, every file compared with its size and sha256.

    Args:
        url: s3://bucket/prefix, or a folder.
        cache: folder of copies, which processes may share; what is there already is not fetched again. Not used for
            what is published in a folder: its own files are compared.

    Returns:
        A folder with the files, named as the version.

    Raises:
        StoreError: nothing is published there, or not wholly; it cannot be fetched; it is damaged.
    """
    place = place_of(url)
    manifest = place.manifest()
    for _ in range(_TRIES):
        if manifest is None:
            raise StoreError(
                f"not published, or not wholly (there is no {MANIFEST_FILE})",
                where=url,
                remedy="check the address; if a run publishes it, wait until it has finished",
            )
        copy = _copy(place, manifest, cache)
        if copy is not None:
            return copy
        manifest = place.manifest()  # if it was replaced meanwhile, the files of the old one are gone
    raise StoreError(
        "what is published there is incomplete or damaged: its files are not those of the manifest",
        where=url,
        remedy="publish the folder there again",
    )


def local_folder(name: str) -> Path:
    """The folder that a person names: published at an s3:// address, published in a folder, or just a folder.

    What is published is compared with its manifest; from S3 it is copied to the user's cache folder. Of a plain folder
    nothing is known here, not even that it exists.

    Raises:
        StoreError: as `fetch_published`.
    """
    return fetch_published(name, cache_folder()) if is_address(name) else Path(name)


def is_address(name: str) -> bool:
    """Whether what a person names is published: at an s3:// address, or in a folder."""
    return is_s3(name) or (Path(name) / MANIFEST_FILE).is_file()


def remove_published(url: str, version: str | None = None) -> None:
    """Remove what is published there, the manifest first; other files there are left alone.

    Args:
        url: s3://bucket/prefix, or a folder.
        version: remove this one alone, and leave one that somebody else has published in its place.

    Raises:
        StoreError: it cannot be removed.
    """
    place = place_of(url, WRITE_ATTEMPTS)
    manifest = place.manifest() if version else None
    if version is None or (manifest is not None and manifest.version == version):
        place.drop_manifest()
    place.drop(version)


def _copy(place: Place, manifest: Manifest, cache: Path) -> Path | None:
    """The local copy of a version; None if files are missing or damaged, which then are no longer in the copy."""
    try:
        copy = place.local(manifest, cache)
    except MissingObject:
        return None
    damaged = differing(manifest, copy)
    for path in damaged:
        if path.is_relative_to(cache):
            path.unlink(missing_ok=True)  # fetched anew next time
    return None if damaged else copy
