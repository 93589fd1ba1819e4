"""Objects and prefixes of S3 as local files: fetched once, each whole or absent, those that were whole kept."""

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
from advantageflow.store.files import METADATA_FILE, read_json, write_json, writing
from advantageflow.store.s3_client import explaining, make_client, missing, parse_url
from advantageflow.store.s3_transfer import S3Object, download_files, list_objects

SCHEME = "s3://"
_CONTENT = "content"

logger = logging.getLogger(__name__)


def is_s3(name: str) -> bool:
    """Whether a name is an S3 address."""
    return name.startswith(SCHEME)


def fetch_file(url: str, folder: Path) -> Path:
    """The local copy of an object, named as it; nothing is fetched when the copy below `folder` is the current version.

    Processes may share the folder of all copies. Credentials, region, endpoint (AWS_ENDPOINT_URL_S3) and the number of
    attempts (AWS_MAX_ATTEMPTS) are boto3's. Raises StoreError: no credentials, no such bucket or object, endpoint not
    reached, transfer that breaks, disk full.
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
    """The local copy of everything below a prefix (with or without a slash at its end), named as the prefix's last
    part.

    It has exactly the objects of now; only those that are new or have changed are fetched. Processes may share the
    folder of all copies. Raises StoreError: as `fetch_file`; or there is nothing below the prefix; or a key is not a
    possible path.
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
    """The folder that holds these objects by relative path, complete: what metadata.json lists came whole."""
    entry = folder / f"s3-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    wanted = {path: {"size": one.size, "etag": one.etag} for path, one in sorted(objects.items())}
    with _locked(entry):
        known = read_json(entry / METADATA_FILE)["objects"] if (entry / METADATA_FILE).exists() else {}
        files = {path: entry / _CONTENT / path for path in {**known, **wanted}}
        sizes = {path: files[path].stat().st_size for path in wanted if files[path].is_file()}
        here = {path for path, one in wanted.items() if known.get(path) == one and sizes.get(path) == one["size"]}
        if here == wanted.keys() == known.keys():
            return entry / _CONTENT
        with writing(entry):
            for path in files.keys() - here:
                files[path].unlink(missing_ok=True)
            for path in wanted:
                files[path].parent.mkdir(parents=True, exist_ok=True)
        needed, free = sum(objects[path].size for path in wanted.keys() - here), shutil.disk_usage(entry.parent).free
        if needed > free:
            message = f"is {needed / 1e9:,.2f} GB, and there are {free / 1e9:,.2f} GB free for it at {entry.parent}"
            raise StoreError(message, where=url, remedy="free some space there, or check the address")
        write_json(entry / METADATA_FILE, {"url": url, "objects": {path: wanted[path] for path in sorted(here)}})
        try:
            download_files(client, url, {files[path]: objects[path] for path in wanted if path not in here})
        finally:
            complete = {path: one for path, one in wanted.items() if files[path].exists()}
            write_json(entry / METADATA_FILE, {"url": url, "objects": complete})
    return entry / _CONTENT


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
