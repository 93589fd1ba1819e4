"""One S3 object to one file: ranged reads that go on where an earlier try stopped, then size and checksum."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from advantageflow.errors import StoreError
from advantageflow.store.files import writing
from advantageflow.store.s3_errors import explaining

PAUSE = 1.0  # seconds before a broken transfer goes on, doubled each time that it brings nothing
_CHUNK = 1 << 20
_FRUITLESS = 4  # tries in a row that bring no byte

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


class Cancelled(Exception):
    """The download was given up because another one failed."""


def download(client: Any, source: S3Object, path: Path, advance: Callable[[int], None]) -> None:
    """Fetch an object into a file, going on from the bytes that are already in it.

    Args:
        client: boto3's.
        source: the version wanted.
        path: the file; what it holds must be the beginning of this version.
        advance: told the bytes of each chunk, those already there first; may raise to stop.

    Raises:
        StoreError: it cannot be fetched or written, or is not what S3 says it is: then the file is gone.
    """
    have = path.stat().st_size if path.exists() else 0
    if have > source.size:
        path.unlink()
        have = 0
    advance(have)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        fruitless = 0
        while have < source.size:
            broken = _append(client, source, path, have, advance)
            now = path.stat().st_size
            fruitless = 0 if now > have else fruitless + 1
            have = now
            if broken is None:
                break
            if fruitless >= _FRUITLESS:
                raise StoreError(
                    "the transfer breaks again and again", where=source.url, remedy="run again: it goes on"
                )
            logger.info("%s: the transfer broke at byte %d (%s), going on", source.url, have, type(broken).__name__)
            time.sleep(PAUSE * 2**fruitless if fruitless else 0)
    verify(client, source, path)


def _append(client: Any, source: S3Object, path: Path, start: int, advance: Callable[[int], None]) -> Exception | None:
    """Read from byte `start` to the end of the file or of the connection; the exception that broke it, if one did."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    with explaining(client, source.url):
        reply = client.get_object(
            Bucket=source.bucket, Key=source.key, IfMatch=f'"{source.etag}"', Range=f"bytes={start}-"
        )
    whole = reply["ResponseMetadata"]["HTTPStatusCode"] == 200  # a store that does not know ranges begins again
    with path.open("wb" if whole else "ab") as file:
        try:
            for chunk in reply["Body"].iter_chunks(_CHUNK):
                file.write(chunk)
                advance(len(chunk))
        except (HTTPClientError, IncompleteReadError) as error:
            return error
        finally:
            reply["Body"].close()
    return None


def verify(client: Any, source: S3Object, path: Path) -> None:
    """Compare a fetched file with the size and, where S3 has one of the whole object, the checksum.

    Raises:
        StoreError: it differs; the file is removed, so that the next try begins anew.
    """
    size = path.stat().st_size
    problem = f"{size} bytes were fetched, the object has {source.size}" if size != source.size else ""
    if not problem:
        with explaining(client, source.url):
            head = client.head_object(
                Bucket=source.bucket, Key=source.key, IfMatch=f'"{source.etag}"', ChecksumMode="ENABLED"
            )
        expected = _checksum(head, source.etag)
        if expected is None:
            logger.info("%s: S3 has no checksum of the whole object; its size is right", source.url)
        elif _digest(path, expected[1]) != expected[2]:
            problem = f"its {expected[0]} is not the one that S3 has"
    if problem:
        path.unlink()
        remedy = "run again to fetch it anew; if it stays wrong, the object was uploaded corrupt: upload it again"
        raise StoreError(f"the download is corrupt: {problem}", where=source.url, remedy=remedy)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    """zlib's CRC-32 in the manner of hashlib; S3 gives it big-endian."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _checksum(head: dict[str, Any], etag: str) -> tuple[str, Callable[[], _Hash], bytes] | None:
    """Name, algorithm and value of the best checksum of the whole object that Python's library can compute.

    An ETag is the MD5 of the content unless the object came in parts (it has a dash) or is encrypted with KMS keys.
    """
    kinds: dict[str, Callable[[], _Hash]] = {"SHA256": hashlib.sha256, "SHA1": hashlib.sha1, "CRC32": _Crc32}
    for name, algorithm in kinds.items():
        value = head.get(f"Checksum{name}")
        if value and "-" not in value and head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
            return name, algorithm, base64.b64decode(value)
    plain = head.get("ServerSideEncryption") in (None, "AES256") and not head.get("SSECustomerAlgorithm")
    if plain and re.fullmatch("[0-9a-f]{32}", etag):
        return "MD5", lambda: hashlib.md5(usedforsecurity=False), bytes.fromhex(etag)
    return None


def _digest(path: Path, algorithm: Callable[[], _Hash]) -> bytes:
    hasher = algorithm()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.digest()
