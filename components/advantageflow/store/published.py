"""Folders published for others to read, whole or not at all, at an s3:// address or in a shared folder.

    URL/manifest.json       which version is published: path, size and sha256 of each of its files
    URL/<version>/...       its files; the version is a hash of what the manifest says of them

The manifest is written last and in one step, and files of different content never share a name. So whoever reads the
manifest finds all of one version: before another content is published the old one, afterwards the new one, and never a
mix, nor a moment with nothing. What an interrupted publication left behind is in the way of nobody, and is used when
the same folder is published again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from advantageflow.errors import StoreError
from advantageflow.store import manifest as manifests
from advantageflow.store.places import Found, Place, place_of
from advantageflow.store.s3 import cache_folder, is_s3
from advantageflow.store.s3_client import WRITE_ATTEMPTS, MissingObject

KINDS = ("policies", "checkpoints", "conditioning", "trainjobs")  # folders of a store; others are not ours
_TRIES = 3  # of reading what is replaced at the same time, or is damaged on the way


def join(url: str, *parts: str) -> str:
    """The address of something below another."""
    return "/".join([url.rstrip("/"), *parts])


def publish_folder(folder: Path, url: str) -> str:
    """Publish every file of a local folder at s3://bucket/prefix or in a folder, in place of what was published there.

    Gives the version that is published now. Files that are there already, as when the same content is published again,
    are not sent. Raises StoreError: the folder has no files; nothing can be written there; says why. Readers see what
    was published before, or nothing.
    """
    return publish_files(manifests.files_of(folder), url)


def publish_files(files: Mapping[str, Path], url: str) -> str:
    """Publish files by their path in what is published, from whatever folders; see `publish_folder`."""
    return _publish(files, manifests.manifest_of(files), url)


def publish_in_version(files: Mapping[str, Path], url: str) -> str:
    """Publish files as `publish_files`, in a folder below the address that is named as their content, beside others;
    gives that folder.
    """
    manifest = manifests.manifest_of(files)
    url = join(url, manifest.version)
    return join(url, _publish(files, manifest, url))


def _publish(files: Mapping[str, Path], manifest: manifests.Manifest, url: str) -> str:
    place = place_of(url, WRITE_ATTEMPTS)
    earlier = _manifest(place, url)
    place.put(files, manifest)
    place.write(manifests.MANIFEST_FILE, manifest.to_json())
    if earlier is not None and earlier.version != manifest.version:
        place.remove(place.files(earlier.version))
    return manifest.version


def is_published(url: str) -> bool:
    """Whether a folder is published there."""
    return _manifest(place_of(url), url) is not None


def fetch_published(url: str, cache: Path) -> Path:
    """A local copy of a published folder, named as its version, every file compared with its size and sha256.

    `cache` is a folder of copies, which processes may share; what is there already is not fetched again. What is
    published in a folder is not copied: its own files are compared. Raises StoreError: nothing is published there, or
    not wholly; it cannot be fetched; it is damaged.
    """
    place = place_of(url)
    manifest = _manifest(place, url)
    for _ in range(_TRIES):
        if manifest is None:
            message = f"not published, or not wholly (there is no {manifests.MANIFEST_FILE})"
            remedy = "check the address; if a run publishes it, wait until it has finished"
            raise StoreError(message, where=url, remedy=remedy)
        copy = _copy(place, manifest, cache)
        if copy is not None:
            return copy
        manifest = _manifest(place, url)  # if it was replaced meanwhile, the files of the old one are gone
    message = "what is published there is incomplete or damaged: its files are not those of the manifest"
    raise StoreError(message, where=url, remedy="publish the folder there again")


def local_folder(name: str) -> Path:
    """The folder that a person names: published at an s3:// address, published in a folder, or just a folder.
    Raises StoreError as `fetch_published`.

    What is published is compared with its manifest; from S3 it is copied to the user's cache folder. Of a plain folder
    nothing is known here, not even that it exists.
    """
    return fetch_published(name, cache_folder()) if is_address(name) else Path(name)


def is_address(name: str) -> bool:
    """Whether what a person names is published: at an s3:// address, or in a folder."""
    return is_s3(name) or (Path(name) / manifests.MANIFEST_FILE).is_file()


def remove_published(url: str, version: str | None = None) -> None:
    """Remove what is published there, the manifest first; other files there are left alone.

    With a `version` this one alone, and one that somebody else has published in its place is left.
    """
    place = place_of(url, WRITE_ATTEMPTS)
    manifest = _manifest(place, url) if version else None
    if version is None or (manifest is not None and manifest.version == version):
        place.remove([manifests.MANIFEST_FILE])
    place.remove(path for path in place.files() if re.match(f"{version or manifests.VERSION_PATTERN}/", path))


def folders_below(url: str) -> list[str]:
    """Names of the folders right below an address that hold any files."""
    return sorted({path.partition("/")[0] for path in place_of(url).files() if "/" in path})


def remove_below(url: str) -> None:
    """Remove everything below an address, published or half published."""
    place = place_of(url)
    place.remove(place.files())


@dataclass(frozen=True)
class Kept:
    """A folder of a store."""

    path: str  # below the store
    files: tuple[str, ...]  # paths below the store, the manifest first
    size: int  # bytes
    changed: float  # epoch seconds, of the newest file: publishing the same again renews it


def kept_in(store: str) -> list[Kept]:
    """All published folders of a store, and what interrupted publications left, by path."""
    place = place_of(store)
    found = {PurePosixPath(path): one for kind in KINDS for path, one in place.files(kind).items()}
    published = {path.parent for path in found if path.name == manifests.MANIFEST_FILE}
    folders: dict[PurePosixPath, dict[PurePosixPath, Found]] = {}
    for path in sorted(found, key=lambda path: (path.name != manifests.MANIFEST_FILE, path)):
        folder = next((above for above in path.parents if above in published), path.parent)
        folders.setdefault(folder, {})[path] = found[path]
    return [
        Kept(
            str(at), tuple(map(str, files)), sum(f.size for f in files.values()), max(f.changed for f in files.values())
        )
        for at, files in sorted(folders.items())
    ]


def remove_kept(store: str, kept: Kept) -> None:
    """Remove a folder of a store, its manifest first, so that nobody takes what is left for whole."""
    place_of(store, WRITE_ATTEMPTS).remove(kept.files)


def _manifest(place: Place, url: str) -> manifests.Manifest | None:
    content = place.read(manifests.MANIFEST_FILE)
    return None if content is None else manifests.parse_manifest(content, join(url, manifests.MANIFEST_FILE))


def _copy(place: Place, manifest: manifests.Manifest, cache: Path) -> Path | None:
    """The local copy of a version; None if files are missing or damaged, which then are no longer in the copy."""
    try:
        copy = place.local(manifest.version, cache)
    except MissingObject:
        return None
    damaged = manifests.differing(manifest, copy)
    for path in damaged:
        if path.is_relative_to(cache):
            path.unlink(missing_ok=True)  # fetched anew next time
    return None if damaged else copy
