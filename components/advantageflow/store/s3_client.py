"""Addresses of S3 objects, boto3's client for the place that the environment names, and what S3 refuses.

That is said once and clearly: which address, what is wrong, and the remedy; never a credential.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from advantageflow.errors import StoreError

_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the pod a role or secret that has them"
)
ENDPOINT = "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"  # boto3's variables; the first is for S3 alone, and goes before
_REACH = f"check {ENDPOINT} (unset it for Amazon's own S3), the region and the network, and run again"
_FULL = "free some space in the store or have its quota raised, and run again"
_CHANGED = "somebody writes there at this moment: run again when it is finished"
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


class MissingObject(StoreError):
    """An object or prefix that is not there, in a bucket that is."""


class Doing(NamedTuple):
    """What is being done, for the remedies."""

    rights: str  # what credentials must allow for it
    again: str  # what happens when it is done again after a failure


READING = Doing("s3:GetObject and s3:ListBucket", "run again: what was fetched already is kept")
WRITING = Doing(
    "s3:PutObject, s3:AbortMultipartUpload, s3:GetObject and s3:ListBucket",
    "run again: files that arrived whole are not sent again, and readers see what was published before, or nothing",
)
REMOVING = Doing("s3:DeleteObject and s3:ListBucket", "run again: it goes on with what is left")


@contextlib.contextmanager
def explaining(client: Any, url: str, doing: Doing = READING) -> Iterator[None]:
    """Turn what boto3 raises inside the block into a StoreError about `url`, which is read, written or removed.

    The client is asked whether the bucket is there when an object is not. Raises StoreError: no credentials, no such
    bucket or key, access refused, endpoint not reached, object changed, transfer that breaks, no room left.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

    try:
        yield
    except RetriesExceededError as error:
        kind = type(error.last_exception).__name__
        raise StoreError(f"the transfer breaks again and again ({kind})", where=url, remedy=doing.again) from error
    except S3DownloadFailedError as error:  # of another version than was asked for
        raise StoreError("the object changed while it was fetched", where=url, remedy=_CHANGED) from error
    except ClientError as error:
        raise _refusal(error, client, url, doing) from error
    except BotoCoreError as error:
        raise unusable(error, url, client.meta.endpoint_url, doing) from error


def unusable(error: Exception, url: str, endpoint: str = "", doing: Doing = READING) -> StoreError:
    """The error of a request that never came to an answer, or of a client that cannot be made."""
    from botocore import exceptions

    if isinstance(
        error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError | exceptions.CredentialRetrievalError
    ):
        return StoreError("there are no complete S3 credentials", where=url, remedy=_CREDENTIALS)
    if isinstance(error, exceptions.ProfileNotFound | exceptions.ConfigParseError):
        return StoreError(
            "the AWS configuration cannot be used", where=url, remedy=f"see AWS_PROFILE, or {_CREDENTIALS}"
        )
    if isinstance(error, exceptions.FlexibleChecksumError):
        remedy = "run again; if it stays so, the object was uploaded corrupt, or something on the way alters it"
        return StoreError("the download arrives damaged: its checksum is another", where=url, remedy=remedy)
    if isinstance(
        error, exceptions.HTTPClientError | exceptions.ConnectionError
    ):  # connection refused, unknown host, time-out, TLS, proxy
        kind = type(error).__name__
        return StoreError(f"{_host(endpoint)} cannot be reached ({kind})", where=url, remedy=f"{_REACH}; {doing.again}")
    return StoreError(f"S3 cannot be used ({type(error).__name__})", where=url, remedy=_REACH)


def _refusal(error: Any, client: Any, url: str, doing: Doing) -> StoreError:
    """The error of a request that S3 answered with a refusal; its text is left out, it may repeat an access key."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    bucket = urlsplit(url).netloc
    if code == "NoSuchBucket" or (status == 404 and not _bucket_exists(client, bucket)):
        remedy = f"check the bucket's name, and that {_host(client.meta.endpoint_url)} is the store that has it"
        return StoreError(f"there is no bucket '{bucket}'", where=url, remedy=remedy)
    if status == 404:
        return missing(url)
    if status == 507 or "Quota" in code or "StorageFull" in code:  # each store has a name of its own for it
        return StoreError(f"the store has no room left ({code or status})", where=url, remedy=_FULL)
    if status in (401, 403):
        remedy = f"check that the credentials are valid and allow {doing.rights} there"
        return StoreError(f"access is refused ({code or status})", where=url, remedy=remedy)
    if status in (301, 307) or code == "AuthorizationHeaderMalformed":
        return StoreError("the bucket is in another region", where=url, remedy="set AWS_REGION to the bucket's region")
    return StoreError(f"S3 answered with an error ({code or 'no code'}, HTTP {status})", where=url, remedy=doing.again)


def missing(url: str) -> MissingObject:
    """The error of an object or prefix that is not there."""
    return MissingObject("there is no such object", where=url, remedy="check the address; keys are case-sensitive")


def _bucket_exists(client: Any, bucket: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        return bool(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404)
    except BotoCoreError:
        return True
    return True


def _host(endpoint: str) -> str:
    """The endpoint without anything secret that its URL may carry."""
    parts = urlsplit(endpoint)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "the S3 endpoint"
