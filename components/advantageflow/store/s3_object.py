"""One S3 object to one file: ranged reads that go on where an earlier try stopped, then size and checksum."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advantageflow.errors import StoreError
from advantageflow.store.files import writing
from advantageflow.store.s3_checksum import Checksum, checksum_of
from advantageflow.store.s3_errors import explaining

PAUSE = 1.0  # seconds before a broken transfer goes on, doubled each time that it brings nothing
_CHUNK = 1 << 20
_FRUITLESS = 4  # tries in a row that bring no byte

logger = logging.getLogger(__name__)


class DamagedDownload(StoreError):
    """What was fetched is not what S3 says the object is."""


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
    """Compare a fetched file with its object.

    Raises:
        DamagedDownload: it differs; the file is removed, so that the next try begins anew.
    """
    problem = difference(client, source, path)
    if problem:
        path.unlink()
        remedy = "run again to fetch it anew; if it stays wrong, the object was uploaded corrupt: upload it again"
        raise DamagedDownload(f"the download is corrupt: {problem}", where=source.url, remedy=remedy)


def difference(client: Any, source: S3Object, path: Path) -> str:
    """How a file differs from an object: in size, or in the checksum where S3 has one that can be computed here.

    Returns:
        What differs, in words; "" when nothing does.

    Raises:
        StoreError: S3 does not say.
    """
    size = path.stat().st_size
    if size != source.size:
        return f"{size} bytes are here, the object has {source.size}"
    checksum = _checksum(client, source)
    if checksum is None:
        logger.info("%s: S3 has no checksum that can be computed here; its size is right", source.url)
        return ""
    return "" if checksum.fits(path) else f"its {checksum.name} is not the one that S3 has"


def _checksum(client: Any, source: S3Object) -> Checksum | None:
    def head(**options: Any) -> dict[str, Any]:
        with explaining(client, source.url):
            reply: dict[str, Any] = client.head_object(Bucket=source.bucket, Key=source.key, **options)
        return reply

    whole = head(ChecksumMode="ENABLED", IfMatch=f'"{source.etag}"')
    return checksum_of(whole, source.etag, lambda number: head(PartNumber=number))
