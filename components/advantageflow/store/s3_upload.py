"""Local files to S3 objects: big ones in parts, each compared with what the store says it has, no part left behind."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advantageflow.errors import StoreError
from advantageflow.store.s3 import list_objects
from advantageflow.store.s3_client import CONNECTIONS, parse_url
from advantageflow.store.s3_errors import REMOVING, WRITING, explaining
from advantageflow.store.s3_object import S3Object, difference
from advantageflow.store.s3_progress import Progress

PART = 16 << 20  # bytes; what is larger than one part is sent in parts
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
    bucket, prefix = parse_url(url)
    there = list_objects(client, url)
    left = {
        path: file
        for path, file in files.items()
        if path not in there or there[path].size != file.stat().st_size or difference(client, there[path], file)
    }
    for _ in range(_TRIES):
        _send(client, url, left)
        damaged = {}
        for path, file in left.items():
            problem = _problem(client, bucket, f"{prefix}/{path}", file)
            if problem:
                logger.info("%s/%s: arrived damaged (%s)", url, path, problem)
                damaged[path] = file
        left = damaged
        if not left:
            return
    remedy = "run again; if it stays so, see what stands between here and the store: a proxy, a faulty disk there"
    raise StoreError("the upload arrives damaged again and again", where=f"{url}/{next(iter(left))}", remedy=remedy)


def put_object(client: Any, url: str, content: bytes) -> None:
    """Write a small object in one request: readers see the whole of it, or what was there before.

    Raises:
        StoreError: as `upload_files`.
    """
    bucket, key = parse_url(url)
    with explaining(client, url, WRITING):
        client.put_object(Bucket=bucket, Key=key, Body=content)


def delete_object(client: Any, url: str) -> None:
    """Remove an object; one that is not there is no error.

    One by one: the request for many needs a checksum header that not all stores know.

    Raises:
        StoreError: no credentials, access refused, no such bucket, endpoint not reached.
    """
    bucket, key = parse_url(url)
    with explaining(client, url, REMOVING):
        client.delete_object(Bucket=bucket, Key=key)


def _send(client: Any, url: str, files: Mapping[str, Path]) -> None:
    """Send files, several at once; a failure, or an interruption, stops all and removes the parts that were sent."""
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from botocore.exceptions import ClientError
    from s3transfer.subscribers import BaseSubscriber

    bucket, prefix = parse_url(url)
    progress = Progress(url, "sent", len(files), sum(file.stat().st_size for file in files.values()))

    class Told(BaseSubscriber):
        def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:
            progress.advance(bytes_transferred)

    config = TransferConfig(PART, CONNECTIONS, PART, preferred_transfer_client="classic")
    with explaining(client, url, WRITING), create_transfer_manager(client, config) as manager:
        sent = {
            path: manager.upload(str(file), bucket, f"{prefix}/{path}", subscribers=[Told()])
            for path, file in files.items()
        }
        for future in sent.values():
            try:
                future.result()
            except ClientError as error:
                if error.response["Error"]["Code"] not in _DAMAGED:
                    raise


def _problem(client: Any, bucket: str, key: str, file: Path) -> str:
    """How the object differs from the file that was sent."""
    from botocore.exceptions import ClientError

    with explaining(client, f"s3://{bucket}/{key}", WRITING):
        try:
            head = client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            return "it was refused"
    return difference(client, S3Object(bucket, key, head["ContentLength"], head["ETag"].strip('"')), file)
