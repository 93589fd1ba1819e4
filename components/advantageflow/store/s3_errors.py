"""What S3 refuses, said once and clearly: which address, what is wrong, and the remedy; never a credential."""

from __future__ import annotations

import contextlib
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
    """Turn what boto3 raises inside the block into a StoreError about `url`. Raises StoreError: no credentials, no such
    bucket or key, access refused, endpoint not reached, object changed, transfer that breaks, no room left.

    Args:
        client: boto3's, asked whether the bucket is there when an object is not.
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
    from botocore.exceptions import (
        ConfigParseError,
        ConnectionError,
        CredentialRetrievalError,
        FlexibleChecksumError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return StoreError("there are no complete S3 credentials", where=url, remedy=_CREDENTIALS)
    if isinstance(error, ProfileNotFound | ConfigParseError):
        return StoreError(
            "the AWS configuration cannot be used", where=url, remedy=f"see AWS_PROFILE, or {_CREDENTIALS}"
        )
    if isinstance(error, FlexibleChecksumError):
        remedy = "run again; if it stays so, the object was uploaded corrupt, or something on the way alters it"
        return StoreError("the download arrives damaged: its checksum is another", where=url, remedy=remedy)
    if isinstance(error, HTTPClientError | ConnectionError):  # connection refused, unknown host, time-out, TLS, proxy
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
