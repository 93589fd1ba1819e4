"""What an API server's refusal means: which of many errors it is, said once and clearly, with the remedy."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from advantageflow.errors import ClusterError

_LONGEST = 400  # characters of a server's own words
_SIGN_IN = (
    "give a fresh token with --token-file, or the cookies of a signed-in browser with --cookie-file; "
    "in a pod of the cluster, --in-cluster"
)
_RIGHTS = "check --namespace, and ask for the right to do this there (a contributor of the profile has it)"
_QUOTA = "wait for runs to end or delete some, ask for a larger quota, or choose smaller --resources"
_ADDRESS = "check the address; the API of a whole Kubeflow is under /pipeline, as in https://HOST/pipeline"
_SMALLER = "run fewer rounds, and continue from the last policy with --init-policy in the next run"
_LATER = "try again in some minutes; if it stays, the log of the deployment ml-pipeline says more"


class ServerAway(ClusterError):
    """A server that cannot be reached or is out of order at this moment."""


class NotThere(ClusterError):
    """A run, schedule or experiment that the server does not have."""


class AlreadyThere(ClusterError):
    """A name that is taken."""


def refusal(status: int, headers: Any, body: str | None, *, host: str, what: str) -> ClusterError:
    """The error of an answer other than success, by its HTTP status; `what` was asked for, as in "run 17"."""
    words, code = _own_words(body)
    told = f": {words}" if words else ""
    lower = words.lower()
    if 300 <= status < 400:
        return _redirected((headers or {}).get("Location", ""), host)
    if "exceeded quota" in lower or "failed quota" in lower or "quota exceeded" in lower:
        return ClusterError(f"a quota does not allow {what}{told}", where=host, remedy=_QUOTA)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or "too large" in lower or "larger than max" in lower:
        return ClusterError(f"the server does not take so large a pipeline{told}", where=host, remedy=_SMALLER)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ServerAway(f"the server takes no more requests at this moment{told}", where=host, remedy=_LATER)
    if status == HTTPStatus.UNAUTHORIZED or "authentication failed" in lower or "user identity" in lower:
        return ClusterError(f"the server does not know who asks (HTTP {status}){told}", where=host, remedy=_SIGN_IN)
    # Uploads are refused for want of rights with status 400.
    if status == HTTPStatus.FORBIDDEN or "upload denied" in lower or "authorization failure" in lower:
        return ClusterError(f"not allowed: {what} (HTTP {status}){told}", where=host, remedy=_RIGHTS)
    if status == HTTPStatus.NOT_FOUND and code is not None:
        return NotThere(f"the server has no {what}{told}", where=host, remedy="check the name or id, and --namespace")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return no_api(host, f"HTTP {status}")
    if status == HTTPStatus.CONFLICT:
        return AlreadyThere(f"the name is taken: {what}{told}", where=host, remedy="choose another name")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerAway(f"the server failed at {what} (HTTP {status}){told}", where=host, remedy=_LATER)
    remedy = "if it names a setting or a name, mend it; else check that the server is Kubeflow Pipelines 2.17 or later"
    return ClusterError(f"the server does not take {what} (HTTP {status}){told}", where=host, remedy=remedy)


def no_api(host: str, why: str) -> ClusterError:
    """The error of an address where something else than an API server of Kubeflow Pipelines 2 answers."""
    return ClusterError(f"not a Kubeflow Pipelines 2 API server ({why})", where=host, remedy=_ADDRESS)


def sign_in_page(host: str) -> ClusterError:
    """The error of a page for people where the API's answer should be."""
    return ClusterError(
        "a web page came instead of an answer, as where one has to sign in", where=host, remedy=_SIGN_IN
    )


def _redirected(location: str, host: str) -> ClusterError:
    """To its own secure address, or to where one signs in."""
    to, asked = urlsplit(location), urlsplit(host)
    if to.scheme == "https" and asked.scheme == "http" and to.hostname == asked.hostname:
        return ClusterError(
            "the server wants https", where=host, remedy=f"give --host https://{asked.netloc}{asked.path}"
        )
    place = f" to {to.scheme}://{to.netloc}{to.path}" if to.hostname else ""
    return ClusterError(f"the server sends on{place}, as where one has to sign in", where=host, remedy=_SIGN_IN)


def _own_words(body: str | None) -> tuple[str, int | None]:
    """A server's message and its gRPC code, which only the API itself gives; no words of pages for people."""
    text = (body or "").strip()
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return ("" if text.startswith("<") else _short(text)), None
    words = told.get("message") or told.get("error_message") or told.get("error") or ""
    code = told.get("code")
    return _short(str(words)), code if isinstance(code, int) else None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
