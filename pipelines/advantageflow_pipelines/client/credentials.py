"""What a request proves its sender by: a token, cookies or a pod's service account; never on a command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from advantageflow.errors import ClusterError
from advantageflow.tracking.kubeflow import TOKEN_ENV as POD_TOKEN_ENV
from advantageflow.tracking.kubeflow import TOKEN_FILE

TOKEN_ENV = "ADVANTAGEFLOW_KFP_TOKEN"  # noqa: S105 - the name of a variable
COOKIE_ENV = "ADVANTAGEFLOW_KFP_COOKIE"
_HIDDEN = "[hidden]"


@dataclass(frozen=True)
class Credentials:
    """Where token and cookies come from; a token file is read for every request, as Kubernetes renews it.

    Attributes:
        token_file: file of a bearer token.
        fixed_token: a bearer token.
        cookie: value of the Cookie header.
    """

    token_file: Path | None = None
    fixed_token: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)

    def token(self) -> str | None:
        """The bearer token at this moment.

        Raises:
            ClusterError: its file cannot be read, or holds no token.
        """
        if self.token_file is None:
            return self.fixed_token
        return _one_word(_read(self.token_file), str(self.token_file))

    def hide(self, text: str) -> str:
        """A server's words without the secrets that they may repeat."""
        for secret in filter(None, (self.token(), self.cookie)):
            text = text.replace(secret, _HIDDEN)
        return text


def find_credentials(
    token_file: Path | None = None,
    cookie_file: Path | None = None,
    *,
    in_cluster: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Credentials:
    """The credentials that options and environment give; files come before variables.

    Args:
        token_file: file of a bearer token.
        cookie_file: file of the value of a Cookie header.
        in_cluster: use the token that Kubernetes mounts for Kubeflow Pipelines into this pod.
        environment: of the process.

    Raises:
        ClusterError: a file cannot be read or holds no such thing, or two tokens are given.
    """
    if in_cluster and token_file is not None:
        raise ClusterError("two tokens are given", where="--in-cluster, --token-file", remedy="give one of them")
    if in_cluster:
        token_file = Path(environment.get(POD_TOKEN_ENV) or TOKEN_FILE)
        if not token_file.exists():
            remedy = (
                "mount a service account token with audience pipelines.kubeflow.org there (a projected volume), or "
                f"name its path in {POD_TOKEN_ENV}; a server of one user needs no token: give --host alone"
            )
            raise ClusterError("this pod has no token for Kubeflow Pipelines", where=str(token_file), remedy=remedy)
    token = environment.get(TOKEN_ENV) if token_file is None else None
    credentials = Credentials(
        token_file=token_file,
        fixed_token=_one_word(token, TOKEN_ENV) if token else None,
        cookie=_cookie(cookie_file, environment),
    )
    credentials.token()  # a missing file is found before anything is done
    return credentials


def _cookie(file: Path | None, environment: Mapping[str, str]) -> str | None:
    text, where = (_read(file), str(file)) if file is not None else (environment.get(COOKIE_ENV), COOKIE_ENV)
    if not text:
        return None
    cookie = text.strip()
    if "=" not in cookie or "\n" in cookie or not cookie.isprintable():
        remedy = "give what the browser sends in the header Cookie: name=value, several with ; between them"
        raise ClusterError("holds no cookie", where=where, remedy=remedy)
    return cookie


def _one_word(text: str, where: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        remedy = "give the bare token, without 'Bearer' and without anything else"
        raise ClusterError("holds no token", where=where, remedy=remedy)
    return token


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ClusterError(f"cannot be read: {reason}", where=str(file), remedy="check the path") from error
