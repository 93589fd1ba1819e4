"""What S3 refuses, said once and clearly: which address, what is wrong, and the remedy; never a credential."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from advantageflow.errors import StoreError

_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the pod a role or secret that has them"
)
_REFUSED = "check that the credentials are valid and allow s3:GetObject and s3:ListBucket there"
_REACH = "check AWS_ENDPOINT_URL (unset it for Amazon's own S3), the region and the network, and run again"
_AGAIN = "run again: what was fetched already is kept"
_CHANGED = "somebody writes there at this moment: run again when it is finished"


@contextlib.contextmanager
def explaining(client: Any, url: str) -> Iterator[None]:
    """Turn what boto3 raises inside the block into a StoreError about `url`.

    Args:
        client: boto3's, asked whether the bucket is there when an object is not.
        url: what is being read, s3://bucket/key.

    Raises:
        StoreError: no credentials, no such bucket or key, access refused, endpoint not reached, object changed.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refusal(error, client, url) from error
    except BotoCoreError as error:
        raise unusable(error, url, client.meta.endpoint_url) from error


def unusable(error: Exception, url: str, endpoint: str = "") -> StoreError:
    """The error of a request that never came to an answer, or of a client that cannot be made."""
    from botocore.exceptions import (
        ConfigParseError,
        ConnectionError,
        CredentialRetrievalError,
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
    if isinstance(error, HTTPClientError | ConnectionError):  # connection refused, unknown host, time-out, TLS, proxy
        kind = type(error).__name__
        return StoreError(f"{_host(endpoint)} cannot be reached ({kind})", where=url, remedy=f"{_REACH}; {_AGAIN}")
    return StoreError(f"S3 cannot be used ({type(error).__name__})", where=url, remedy=_REACH)


def _refusal(error: Any, client: Any, url: str) -> StoreError:
    """The error of a request that S3 answered with a refusal; its text is left out, it may repeat an access key."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    bucket = urlsplit(url).netloc
    if code == "NoSuchBucket" or (status == 404 and not _bucket_exists(client, bucket)):
        remedy = f"check the bucket's name, and that {_host(client.meta.endpoint_url)} is the store that has it"
        return StoreError(f"there is no bucket '{bucket}'", where=url, remedy=remedy)
    if status == 404:
        return missing(url)
    if status == 412:
        return StoreError("the object changed while it was fetched", where=url, remedy=_CHANGED)
    if status in (401, 403):
        return StoreError(f"access is refused ({code or status})", where=url, remedy=_REFUSED)
    if status in (301, 307) or code == "AuthorizationHeaderMalformed":
        return StoreError("the bucket is in another region", where=url, remedy="set AWS_REGION to the bucket's region")
    return StoreError(f"S3 answered with an error ({code or 'no code'}, HTTP {status})", where=url, remedy=_AGAIN)


def missing(url: str) -> StoreError:
    """The error of an object or prefix that is not there."""
    return StoreError("there is no such object", where=url, remedy="check the address; keys are case-sensitive")


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
