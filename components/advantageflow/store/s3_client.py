"""Addresses of S3 objects, and boto3's client for the place that the environment names."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

from advantageflow.errors import StoreError
from advantageflow.store.s3_errors import ENDPOINT, unusable

ADDRESSING_ENV = "ADVANTAGEFLOW_S3_ADDRESSING"
CONNECTIONS = 4  # transfers at once
READ_TIMEOUT = 60.0  # seconds without a byte
_ADDRESSING = ("auto", "path", "virtual")
READ_ATTEMPTS = 6  # of each request, where AWS_MAX_ATTEMPTS says nothing: a wrong address is soon told
WRITE_ATTEMPTS = 12  # hours of training wait to be written: long enough for a store to start anew


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and key of s3://bucket/key. Raises StoreError: it is not such an address."""
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9._-]+)/(.*[^/])", url)
    if match is None or any(part in ("", ".", "..") for part in match[2].split("/")):
        shown = re.sub(r"//[^/]*@", "//", url)
        raise StoreError("is not the address of an S3 object", where=shown, remedy="write it as s3://bucket/key")
    return match[1], match[2]


def make_client(url: str, attempts: int = READ_ATTEMPTS) -> Any:
    """boto3's client; credentials, region, endpoint (AWS_ENDPOINT_URL_S3) and AWS_MAX_ATTEMPTS are boto3's own.
    Raises StoreError: the endpoint, the addressing or AWS's own configuration cannot be used.

    ADVANTAGEFLOW_S3_ADDRESSING says where the bucket's name stands: `path` (http://host/bucket/key), `virtual`
    (http://bucket.host/key), or `auto`, which is `path` with an endpoint of one's own, as MinIO and SeaweedFS need it,
    and `virtual` on Amazon. It is not a setting of a run, as it belongs to the place and not to what is trained there.

    Args:
        url: what the client is wanted for; only shown in errors.
        attempts: how often a request is sent before it fails, where AWS_MAX_ATTEMPTS does not say so.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    logging.getLogger("botocore").setLevel(logging.WARNING)  # it says for each client where credentials were found
    try:
        return boto3.client("s3", config=_config(attempts))
    except ValueError as error:
        remedy = "set it to the store's address, such as http://minio:9000, or unset it"
        raise StoreError("the endpoint is not an address", where=ENDPOINT, remedy=remedy) from error
    except BotoCoreError as error:
        raise unusable(error, url) from error


def _config(attempts: int) -> Any:
    from botocore.config import Config

    retries: Any = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = attempts
    # Many stores do not know the newer checksum headers. Every one knows the SHA-256 of the body that is part of the
    # signature, and refuses a body that has another. Of what is read, botocore checks those that the store gives.
    s3: Any = {"addressing_style": _addressing(), "payload_signing_enabled": True}
    return Config(
        retries=retries, s3=s3, connect_timeout=10, read_timeout=READ_TIMEOUT, max_pool_connections=4 * CONNECTIONS,
        request_checksum_calculation="when_required",
    )  # fmt: skip


def _addressing() -> str:
    style = os.environ.get(ADDRESSING_ENV) or "auto"
    if style not in _ADDRESSING:
        remedy = f"set it to one of {', '.join(_ADDRESSING)}, or unset it"
        raise StoreError(f"invalid addressing '{style}'", where=ADDRESSING_ENV, remedy=remedy)
    return style
