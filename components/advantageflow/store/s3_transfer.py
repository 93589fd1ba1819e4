"""Files to and from S3 by boto3's transfer manager: several at once, big ones in parts, progress in the log."""

import contextlib
import hashlib
import io
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advantageflow.store.files import writing
from advantageflow.store.s3_client import CONNECTIONS, READING, WRITING, Doing, MissingObject, explaining, parse_url

_BODIES = 4  # tries of reading a range
PART = 16 << 20  # bytes; what is as large as one part or larger goes in parts
_WORTH_SHOWING = 50_000_000  # bytes from which on a transfer tells of its progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class S3Object:
    """A version of an object."""

    bucket: str
    key: str
    size: int  # bytes
    etag: str  # S3's mark of this version, without quotes
    changed: float  # epoch seconds

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def on_queued(self, future: Any, **_: object) -> None:
        """Tell the transfer manager which version is wanted, which spares it a question."""
        future.meta.provide_transfer_size(self.size)
        future.meta.provide_object_etag(f'"{self.etag}"')


class _Progress:
    """Counts the bytes of all files of a transfer, and tells of every tenth of them."""

    def __init__(self, url: str, verb: str, files: int, total: int) -> None:
        self._url, self._verb, self._files, self._total, self._done, self._told = url, verb, files, total, 0, 0
        self._lock = threading.Lock()

    def on_progress(self, bytes_transferred: int, **_: object) -> None:
        """What the transfer manager calls; with fewer bytes than none when a part is sent again."""
        with self._lock:
            self._done += bytes_transferred
            tenth = 10 * self._done // self._total if self._total >= _WORTH_SHOWING else 0
            if tenth > self._told:
                self._told = tenth
                done, total = self._done / 1e9, self._total / 1e9
                logger.info("%s: %.2f of %.2f GB %s (files: %d)", self._url, done, total, self._verb, self._files)


def list_objects(client: Any, url: str) -> dict[str, S3Object]:
    """The objects below a prefix by their path there, possibly none.
    Raises StoreError: no credentials, no such bucket, access refused, endpoint not reached.
    """
    bucket, prefix = parse_url(url)
    found = {}
    with explaining(client, url):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
            for entry in page.get("Contents", []):
                key, etag, changed = entry["Key"], entry["ETag"].strip('"'), entry["LastModified"].timestamp()
                if not key.endswith("/"):  # what consoles put in place of an empty folder
                    found[key.removeprefix(f"{prefix}/")] = S3Object(bucket, key, entry["Size"], etag, changed)
    return found


def download_files(client: Any, url: str, files: Mapping[Path, S3Object]) -> None:
    """Fetch objects into files, by where to, each whole or absent; a part that breaks off is asked for again, five
    times.

    boto3 compares what comes in one piece with its checksum, where the store has one. Raises StoreError: one cannot be
    fetched or written: all others are stopped, those that were whole are kept.
    """
    progress = _Progress(url, "fetched", len(files), sum(source.size for source in files.values()))
    with _transfers(client, url, READING) as manager:
        started = {
            path: manager.download(source.bucket, source.key, str(path), subscribers=[progress, source])
            for path, source in files.items()
        }
        for path, future in started.items():
            with writing(path), explaining(client, files[path].url):
                future.result()


def upload_files(client: Any, url: str, files: Mapping[str, Path]) -> None:
    """Make objects of files, by path below s3://bucket/prefix, those that are there already excepted; all are there
    then.

    S3 compares each body with its SHA-256 in the request's signature. A request that fails for a moment is sent again
    by boto3; a failure, or an interruption, stops all and removes the parts that were sent. Raises StoreError: no
    credentials, access refused, no such bucket, no room, endpoint not reached, damaged on the way.
    """
    bucket, prefix = parse_url(url)
    there = list_objects(client, url)
    left = {path: file for path, file in files.items() if path not in there or there[path].etag != _etag(file)}
    progress = _Progress(url, "sent", len(left), sum(file.stat().st_size for file in left.values()))
    with _transfers(client, url, WRITING) as manager:
        for future in [
            manager.upload(str(file), bucket, f"{prefix}/{path}", subscribers=[progress]) for path, file in left.items()
        ]:
            future.result()


def read_object(client: Any, url: str) -> bytes | None:
    """The content of a small object; None where there is none.
    Raises StoreError: no credentials, access refused, no such bucket, endpoint not reached.
    """
    bucket, key = parse_url(url)
    content = io.BytesIO()
    try:
        with explaining(client, url):
            client.download_fileobj(Bucket=bucket, Key=key, Fileobj=content, Config=_config())
    except MissingObject:
        return None
    return content.getvalue()


def read_range(client: Any, url: str, start: int, end: int) -> bytes:
    """Bytes [start, end) of an object; fewer where it ends before.
    Raises StoreError as `read_object`; or there is no such object.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    bucket, key = parse_url(url)
    wanted = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{end - 1}"}
    with explaining(client, url):
        for _ in range(_BODIES - 1):  # boto3 sends a request again, but reads a body only once
            with contextlib.suppress(HTTPClientError, IncompleteReadError):
                first: bytes = client.get_object(**wanted)["Body"].read()
                return first
        last: bytes = client.get_object(**wanted)["Body"].read()
        return last


@contextlib.contextmanager
def _transfers(client: Any, url: str, doing: Doing) -> Iterator[Any]:
    """boto3's transfer manager; leaving the block by an error stops all transfers and removes parts that were sent."""
    from boto3.s3.transfer import create_transfer_manager

    with explaining(client, url, doing), create_transfer_manager(client, _config()) as manager:
        yield manager


def _config() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(PART, CONNECTIONS, PART, preferred_transfer_client="classic")


def _etag(file: Path) -> str:
    """The ETag of a file that was sent from here: MD5 of the content, or of its parts' MD5s and their number.

    A store that encrypts with keys of its own has other ETags, and is sent the file again.
    """
    with file.open("rb") as content:
        parts = [_md5(part) for part in iter(lambda: content.read(PART), b"")]
    if file.stat().st_size < PART:
        return (parts or [_md5(b"")])[0].hex()
    return f"{_md5(b''.join(parts)).hex()}-{len(parts)}"


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
