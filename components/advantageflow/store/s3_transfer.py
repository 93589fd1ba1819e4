"""Files to and from S3 by boto3's transfer manager: several at once, big ones in parts, progress in the log."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advantageflow.store.files import writing
from advantageflow.store.s3_client import CONNECTIONS, parse_url
from advantageflow.store.s3_errors import READING, Doing, MissingObject, explaining

_BODIES = 4  # tries of reading a range
PART = 16 << 20  # bytes; what is as large as one part or larger goes in parts
_WORTH_SHOWING = 50_000_000  # bytes from which on a transfer tells of its progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class S3Object:
    """A version of an object.

    Attributes:
        size: bytes.
        etag: S3's mark of this version, without quotes.
    """

    bucket: str
    key: str
    size: int
    etag: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class Progress:
    """Counts the bytes of all files of a transfer, and tells of every tenth of them.

    Args:
        url: what is transferred.
        done: what is done to it, such as 'fetched'.
        files: how many there are.
        total: their bytes.
    """

    def __init__(self, url: str, done: str, files: int, total: int) -> None:
        self._url, self._verb, self._files, self._total, self._done, self._told = url, done, files, total, 0, 0
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


class _Version:
    """Tells the transfer manager which version of an object is wanted, which spares it a question for each."""

    def __init__(self, wanted: S3Object) -> None:
        self._wanted = wanted

    def on_queued(self, future: Any, **_: object) -> None:
        future.meta.provide_transfer_size(self._wanted.size)
        future.meta.provide_object_etag(f'"{self._wanted.etag}"')


@contextlib.contextmanager
def transfers(client: Any, url: str, doing: Doing) -> Iterator[Any]:
    """boto3's transfer manager; leaving the block by an error stops all transfers and removes parts that were sent.

    Raises:
        StoreError: as `explaining`.
    """
    from boto3.s3.transfer import create_transfer_manager

    with explaining(client, url, doing), create_transfer_manager(client, _config()) as manager:
        yield manager


def download_files(client: Any, url: str, files: Mapping[Path, S3Object]) -> None:
    """Fetch objects into files, each whole or absent; a part that breaks off is asked for again, five times.

    boto3 compares what comes in one piece with its checksum, where the store has one.

    Args:
        client: boto3's.
        url: what they are together, for the log.
        files: what to fetch, by where to.

    Raises:
        StoreError: one cannot be fetched or written: all others are stopped, those that were whole are kept.
    """
    progress = Progress(url, "fetched", len(files), sum(source.size for source in files.values()))
    with transfers(client, url, READING) as manager:
        started = {
            path: manager.download(source.bucket, source.key, str(path), subscribers=[progress, _Version(source)])
            for path, source in files.items()
        }
        for path, future in started.items():
            with writing(path), explaining(client, files[path].url):
                future.result()


def read_object(client: Any, url: str) -> bytes | None:
    """The content of a small object; None where there is none.

    Raises:
        StoreError: no credentials, access refused, no such bucket, endpoint not reached.
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

    Raises:
        StoreError: as `read_object`; or there is no such object.
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


def _config() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(PART, CONNECTIONS, PART, preferred_transfer_client="classic")
