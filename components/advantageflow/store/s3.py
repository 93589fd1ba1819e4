"""Objects and prefixes of S3 as local files: fetched once, each whole or absent, those that were whole kept."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from advantageflow.errors import StoreError
from advantageflow.store.files import METADATA_FILE, publish, read_json, write_json, writing
from advantageflow.store.s3_client import make_client, parse_url
from advantageflow.store.s3_errors import explaining, missing
from advantageflow.store.s3_transfer import S3Object, download_files, list_objects

SCHEME = "s3://"
_CONTENT = "content"

logger = logging.getLogger(__name__)


def is_s3(name: str) -> bool:
    """Whether a name is an S3 address."""
    return name.startswith(SCHEME)


def fetch_file(url: str, folder: Path) -> Path:
    """The local copy of an object; nothing is fetched when the copy that is there is the current version.

    Credentials, region, endpoint (AWS_ENDPOINT_URL_S3) and the number of attempts (AWS_MAX_ATTEMPTS) are boto3's.

    Args:
        url: s3://bucket/key.
        folder: of all copies; processes may share it.

    Returns:
        A file named as the object, below `folder`.

    Raises:
        StoreError: no credentials, no such bucket or object, endpoint not reached, transfer that breaks, disk full.
    """
    bucket, key = parse_url(url)
    client = make_client(url)
    with explaining(client, url):
        head = client.head_object(Bucket=bucket, Key=key)
    etag, changed = head["ETag"].strip('"'), head["LastModified"].timestamp()
    found = S3Object(bucket, key, head["ContentLength"], etag, changed)
    name = PurePosixPath(key).name
    return _fetch(client, url, {name: found}, folder) / name


def fetch_folder(url: str, folder: Path) -> Path:
    """The local copy of everything below a prefix; only objects that are new or have changed are fetched.

    Args:
        url: s3://bucket/prefix; a slash at the end makes no difference.
        folder: of all copies; processes may share it.

    Returns:
        A folder named as the last part of the prefix, below `folder`, with exactly the objects of now.

    Raises:
        StoreError: as `fetch_file`; or there is nothing below the prefix; or a key is not a possible path.
    """
    url = url.rstrip("/")
    _, prefix = parse_url(url)
    client = make_client(url)
    found = list_objects(client, url)
    if not found:
        raise missing(f"{url}/")
    _check_paths(found)
    name = PurePosixPath(prefix).name
    return _fetch(client, url, {f"{name}/{relative}": one for relative, one in found.items()}, folder) / name


def cache_folder() -> Path:
    """Where copies are kept that nobody named a place for: advantageflow/ in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "advantageflow"


def _check_paths(found: Mapping[str, S3Object]) -> None:
    """Every key must be possible as a path below a folder, beside all others."""
    for relative, one in found.items():
        parents = {str(parent) for parent in PurePosixPath(relative).parents}
        if any(part in ("", ".", "..") for part in relative.split("/")) or not parents.isdisjoint(found):
            raise StoreError("the key cannot be a file's path", where=one.url, remedy="rename or remove the object")


def _fetch(client: Any, url: str, objects: Mapping[str, S3Object], folder: Path) -> Path:
    """The folder that holds these objects by relative path, complete.

    Each is fetched under a name made of its key and version: after a cut, what was whole is used and nothing mistaken.
    """
    entry = folder / f"s3-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    wanted = {path: {"size": one.size, "etag": one.etag} for path, one in sorted(objects.items())}
    with _locked(entry):
        present = _present(entry)
        if present == wanted:
            return entry / _CONTENT
        partial = folder / f".{entry.name}.partial"
        with writing(partial):
            partial.mkdir(parents=True, exist_ok=True)
        fetched = {path: partial / _version_name(one) for path, one in objects.items()}
        for path, file in fetched.items():
            if path in present and present[path] == wanted[path] and not file.exists():
                _link(entry / _CONTENT / path, file)
        missing_files = {file: objects[path] for path, file in fetched.items() if not file.exists()}
        download_files(client, url, missing_files)
        with publish(entry) as whole:
            for path, file in fetched.items():
                target = whole / _CONTENT / path
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(file, target)
            write_json(whole / METADATA_FILE, {"url": url, "objects": wanted})
        shutil.rmtree(partial, ignore_errors=True)
    return entry / _CONTENT


def _present(entry: Path) -> dict[str, Any]:
    """Size and version by path of the files of an entry that are there in full; none where there is no entry."""
    if not (entry / METADATA_FILE).exists():
        return {}
    listed: dict[str, Any] = read_json(entry / METADATA_FILE)["objects"]
    files = {path: entry / _CONTENT / path for path in listed}
    return {p: v for p, v in listed.items() if files[p].is_file() and files[p].stat().st_size == v["size"]}


def _version_name(source: S3Object) -> str:
    return hashlib.sha256(f"{source.key}\n{source.etag}\n{source.size}".encode()).hexdigest()[:32]


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        with writing(target):
            unfinished = target.with_name(f"{target.name}.copy")
            shutil.copyfile(source, unfinished)
            unfinished.replace(target)


@contextlib.contextmanager
def _locked(entry: Path) -> Iterator[None]:
    """One process at a time; the others wait and then find what it fetched."""
    path = entry.parent / f".{entry.name}.lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("%s: another process is fetching, waiting for it", entry)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
