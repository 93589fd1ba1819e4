"""Local files to S3 objects: big ones in parts, each compared with what the store says it has, no part left behind."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advantageflow.errors import StoreError
from advantageflow.store import s3_transfer
from advantageflow.store.s3 import list_objects
from advantageflow.store.s3_client import parse_url
from advantageflow.store.s3_errors import WRITING, explaining
from advantageflow.store.s3_transfer import Progress, S3Object, transfers

_TRIES = 2  # of a file that arrives damaged
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"}  # S3's codes of a body that arrives so

logger = logging.getLogger(__name__)


def upload_files(client: Any, url: str, files: Mapping[str, Path]) -> None:
    """Make objects of files, those that are there already excepted; returns when all are there and compared.

    A request that fails for a moment is sent again by boto3, the parts of a file that cannot be sent are removed.

    Args:
        client: boto3's.
        url: s3://bucket/prefix to put them below.
        files: by path below the prefix.

    Raises:
        StoreError: no credentials, access refused, no such bucket, no room, endpoint not reached, damaged on the way.
    """
    left = _differing(client, url, files)
    for _ in range(_TRIES):
        _send(client, url, left)
        left = _differing(client, url, left)
        if not left:
            return
        for path in left:
            logger.info("%s/%s: arrived damaged", url, path)
    remedy = "run again; if it stays so, see what stands between here and the store: a proxy, a faulty disk there"
    raise StoreError("the upload arrives damaged again and again", where=f"{url}/{next(iter(left))}", remedy=remedy)


def _send(client: Any, url: str, files: Mapping[str, Path]) -> None:
    """Send files, several at once; a failure, or an interruption, stops all and removes the parts that were sent."""
    from botocore.exceptions import ClientError

    bucket, prefix = parse_url(url)
    progress = Progress(url, "sent", len(files), sum(file.stat().st_size for file in files.values()))
    with transfers(client, url, WRITING) as manager:
        sent = [
            manager.upload(str(file), bucket, f"{prefix}/{path}", subscribers=[progress])
            for path, file in files.items()
        ]
        for future in sent:
            try:
                future.result()
            except ClientError as error:
                if error.response["Error"]["Code"] not in _DAMAGED:
                    raise


def _differing(client: Any, url: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """The files that are not in the store as they are here."""
    if not files:
        return {}
    there = list_objects(client, url)
    return {path: file for path, file in files.items() if not _is_there(client, there.get(path), file)}


def _is_there(client: Any, found: S3Object | None, file: Path) -> bool:
    """Whether an object is the file: of one size, and of one ETag where the store makes it of the content and parts."""
    if found is None or found.size != file.stat().st_size:
        return False
    expected = _etag(file)
    if found.etag == expected or found.etag[32:] != expected[32:]:  # of another number of parts: nothing to compare
        return True
    with explaining(client, found.url, WRITING):
        head = client.head_object(Bucket=found.bucket, Key=found.key)
    encrypted = head.get("ServerSideEncryption") not in (None, "AES256") or "SSECustomerAlgorithm" in head
    return encrypted or re.fullmatch("[0-9a-f]{32}(-[0-9]+)?", found.etag) is None


def _etag(file: Path) -> str:
    """The ETag of a file that was sent as `_send` sends it: MD5 of the content, or of its parts' MD5s and their number.

    A store that encrypts with keys of its own has other ETags.
    """
    with file.open("rb") as content:
        parts = [_md5(part) for part in iter(lambda: content.read(s3_transfer.PART), b"")]
    if file.stat().st_size < s3_transfer.PART:
        return (parts or [_md5(b"")])[0].hex()
    return f"{_md5(b''.join(parts)).hex()}-{len(parts)}"


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
