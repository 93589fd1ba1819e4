"""An OpenAI-compatible chat endpoint: one question, one answer, with bounded retries and no secrets in errors."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import threading
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from advantageflow.errors import RewardError
from advantageflow.json_text import parse_json
from advantageflow.rewards.base import RewardStopped

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager, Retry

_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # statuses that may be others a moment later
_LONGEST_WAIT = 60  # seconds, whatever a server asks for
_LARGEST_REPLY = 4_000_000  # bytes, decompressed
_PIECE = 65_536  # bytes read at once
_SHOWN = 300  # characters of a reply in an error
_REMEDIES = {
    401: "name the environment variable that holds the API key by the option api_key_env",
    403: "use an API key that may use this model",
    404: "check the options base_url (it usually ends in /v1) and model",
}


class ChatEndpoint(BaseModel):
    """Asks a chat model over HTTP; may be used by several threads at once.

    The `timeout` is for an answer to begin, and again for it to be complete. Repeated is a request that the server
    refuses for now (status 429, 5xx and the like), or that fails or times out on the way, at most a minute after the
    one before; a Retry-After that the server sends comes first. For its options see VlmReward.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Annotated[str, Field(pattern="^https?://")]
    model: str
    api_key_env: str | None = None
    concurrency: Annotated[int, Field(ge=1)] = 8
    timeout: Annotated[float, Field(gt=0)] = 60.0
    retries: Annotated[int, Field(ge=0)] = 5
    backoff: Annotated[float, Field(ge=0)] = 2.0

    @property
    def _url(self) -> str:
        return f"{self.base_url.rstrip('/')}/chat/completions"

    def ask(self, request: Mapping[str, Any]) -> str:
        """The text of the model's answer to a request (model, messages ...) as the API defines it.

        Raises:
            RewardStopped: no answer after all retries.
            RewardError: the API key is not there; a refusal, or no chat completion.
        """
        from urllib3.exceptions import HTTPError

        key = self._key()
        headers = {"Authorization": _authorization(key)} if key else {}
        try:
            response, content = self._answer(request, headers)
        except HTTPError as error:
            reason = getattr(error, "reason", None) or error
            message = f"no answer after {self.retries + 1} attempts: {type(reason).__name__}: {_hide(str(reason), key)}"
            remedy = "check that the server is up and base_url is right; raise the option timeout for a slow one"
            raise RewardStopped(message, where=self._url, remedy=remedy) from None  # the cause may quote the request
        text = _hide(content.decode(errors="replace"), key)
        if response.status != 200:
            raise self._refusal(response.status, text)
        return self._text(text)

    def _answer(self, request: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[BaseHTTPResponse, bytes]:
        """The response and its content, decompressed; asked again where that comes too slowly or breaks off."""
        from urllib3.exceptions import HTTPError

        retries = self._retry
        while True:
            response = self._pool.request(
                "POST", self._url, json=request, headers=headers, redirect=False, preload_content=False, retries=retries
            )
            try:
                return response, self._content(response)
            except HTTPError as error:
                retries = (response.retries or retries).increment("POST", self._url, error=error)
                retries.sleep()
            finally:
                response.close()

    def _content(self, response: BaseHTTPResponse) -> bytes:
        from urllib3.exceptions import ProtocolError

        ends, content = time.monotonic() + self.timeout, b""
        while part := response.read1(_PIECE):
            content += part
            if len(content) > _LARGEST_REPLY:
                remedy = "check that base_url is that of an OpenAI-compatible chat API"
                raise RewardError(f"the reply is larger than {_LARGEST_REPLY:,} bytes", where=self._url, remedy=remedy)
            if time.monotonic() > ends:
                raise ProtocolError(f"the reply was not complete within {self.timeout:g} s")
        return content

    @cached_property
    def _pool(self) -> PoolManager:
        """Connections on which the head of an answer must be complete within the timeout, however it trickles in."""
        from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager

        pool = PoolManager(maxsize=self.concurrency, block=True, timeout=self.timeout)
        kinds: dict[str, Any] = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
        pool.pool_classes_by_scheme = {
            scheme: type(kind.__name__, (kind,), {"ConnectionCls": _bounded(kind.ConnectionCls)})
            for scheme, kind in kinds.items()
        }
        return pool

    @cached_property
    def _retry(self) -> Retry:
        from urllib3 import Retry

        return Retry(
            total=self.retries,
            status_forcelist=_PASSING,
            allowed_methods=None,  # also POST: asking twice does no harm
            backoff_factor=self.backoff / 2,  # urllib3 doubles it before the second repetition
            backoff_max=_LONGEST_WAIT,
            retry_after_max=_LONGEST_WAIT,
            raise_on_status=False,
        )

    def _key(self) -> str | None:
        if self.api_key_env is None:
            return None
        key, where = os.environ.get(self.api_key_env), f"environment variable {self.api_key_env}"
        if not key:
            remedy = f"export {self.api_key_env}=... (on a cluster: a secret of the stages), or leave api_key_env away"
            raise RewardError("there is no API key", where=where, remedy=remedy)
        if not (key.isascii() and key.isprintable()):  # the library's own error would show it
            remedy = "export it again: it must be one line of ASCII characters"
            raise RewardError("holds a line break, or a character that no API key has", where=where, remedy=remedy)
        return key

    def _refusal(self, status: int, text: str) -> RewardError:
        tried = f" after {self.retries + 1} attempts" if status in _PASSING else ""
        remedy = _REMEDIES.get(status, "see what the server says; then run again with --resume")
        return RewardError(f"status {status}{tried}: {_excerpt(text)}", where=self._url, remedy=remedy)

    def _text(self, body: str) -> str:
        try:
            answer = parse_json(body)["choices"][0]["message"]
            text = answer["content"]
        except (ValueError, LookupError, TypeError):
            answer, text = {}, None
        if isinstance(text, str):
            return text
        said = answer.get("refusal") or _excerpt(body)
        remedy = "check that base_url is that of an OpenAI-compatible chat API"
        raise RewardError(f"the server's reply is not a chat completion: {said}", where=self._url, remedy=remedy)


def _bounded(kind: Any) -> Any:
    """A kind of connection that is cut where the head of an answer is not complete within its timeout."""

    class Bounded(kind):
        def getresponse(self) -> Any:
            def cut() -> None:
                over.set()
                with contextlib.suppress(OSError, AttributeError):
                    self.sock.shutdown(socket.SHUT_RDWR)

            over, timer = threading.Event(), threading.Timer(self.timeout, cut)
            timer.daemon = True
            timer.start()
            try:
                return super().getresponse()
            finally:
                timer.cancel()
                if over.is_set():  # a head that is cut off reads as one that is complete, or as nonsense
                    raise TimeoutError

    return Bounded


def _authorization(key: str) -> str:
    """What a key is sent as: a bearer's, or that of 'Basic user:password'."""
    kind, _, pair = key.partition(" ")
    return f"Basic {base64.b64encode(pair.encode()).decode()}" if kind == "Basic" and ":" in pair else f"Bearer {key}"


def _hide(text: str, key: str | None) -> str:
    """The text without the API key, or its password, should a server repeat it, as given or as sent."""
    for secret in filter(None, [key, key and _authorization(key).partition(" ")[2], key and key.partition(":")[2]]):
        text = text.replace(secret, "***")
    return text


def _excerpt(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
