"""The API itself: requests to Kubeflow's generated client, one at a time, with every failure as one clear error.

Why not by `kfp.Client` is said in docs/decisions.md.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from advantageflow.errors import ClusterError
from advantageflow_pipelines.client.connection import Connection

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


_TIMEOUT = (10.0, 60.0)  # seconds to connect, and to wait for an answer
_PAGE = 100  # of a list; the server gives at most 200
_REACH = "check the address, the network (a VPN, a port-forward) and that Kubeflow Pipelines is running"
_IN_DOUBT = "it may have happened all the same: see `advantageflow runs --host` or `schedule list` before trying again"
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "wrong version number", "record layer failure")

Operation = Any  # a method of a generated service


class Api:
    """A server's API, checked to be one when it is made.
    Raises ClusterError: the server cannot be reached, refuses, is not one of Kubeflow's, or needs a namespace.

    Attributes:
        connection: how it is reached.
        namespace: to be named in requests; None on a server with a single user.
        runs, experiments, pipelines, uploads, schedules: the generated services.
    """

    def __init__(self, connection: Connection) -> None:
        import kfp_server_api as generated

        self.connection = connection
        client = generated.ApiClient(_configuration(connection), cookie=connection.cookie)
        self.runs = generated.RunServiceApi(client)
        self.experiments = generated.ExperimentServiceApi(client)
        self.pipelines = generated.PipelineServiceApi(client)
        self.uploads = generated.PipelineUploadServiceApi(client)
        self.schedules = generated.RecurringRunServiceApi(client)
        health = self.ask(generated.HealthzServiceApi(client).healthz_service_get_healthz, "its state of health")
        self.namespace = _namespace(connection, health.multi_user)

    @property
    def options(self) -> str:
        """What leads a command to this server, as in `advantageflow runs OPTIONS`."""
        return f"--host {self.connection.host}" + (f" --namespace {self.namespace}" if self.namespace else "")

    def ask(self, operation: Operation, what: str, *, changes: bool = False, **arguments: Any) -> Any:
        """What the server answers.
        Raises ClusterError: no answer came, or a refusal.

        Args:
            changes: whether something is there afterwards that was not before; such a request is sent once only.
        """
        with_headers = getattr(operation.__self__, f"{operation.__name__}_with_http_info")
        with self._explaining(what, changes):
            answer, _, headers = with_headers(**arguments, _request_timeout=_TIMEOUT)
        kind = (headers.get("Content-Type") or "").partition(";")[0]
        if kind == "text/html":
            message = "a web page came instead of an answer, as where one has to sign in"
            raise ClusterError(message, where=self.connection.host, remedy=_SIGN_IN)
        if kind != "application/json":
            raise no_api(self.connection.host, f"it answers with {kind or 'nothing that can be read'}")
        return answer

    def pages(self, operation: Operation, items: str, what: str, **arguments: Any) -> Iterator[Any]:
        """All that an operation lists in the field `items` of its answers, fetched page by page as they are wanted."""
        token = ""
        while True:
            page = self.ask(operation, what, page_size=_PAGE, page_token=token, **arguments)
            yield from getattr(page, items) or []
            token = page.next_page_token
            if not token:
                return

    def named(self, operation: Operation, items: str, what: str, name: str, **arguments: Any) -> Iterator[Any]:
        """Those of a list that have this name; takes what `pages` does."""
        only = {"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]}
        return self.pages(operation, items, what, filter=json.dumps(only), **arguments)

    @contextlib.contextmanager
    def _explaining(self, what: str, changes: bool) -> Iterator[None]:
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError, NewConnectionError

        host, hide = self.connection.host, self.connection.hide
        try:
            yield
        except ApiException as error:
            raise refusal(error.status, error.headers, error.body and hide(error.body), host=host, what=what) from None
        except UnicodeDecodeError:
            raise no_api(host, "its answer is not text") from None
        except HTTPError as error:
            reason = getattr(error, "reason", None) or error
            kind = type(reason).__name__
            certain = not changes or isinstance(reason, NewConnectionError)
            remedy = _REACH if certain else f"{_IN_DOUBT}; then {_REACH}"
            if "SSL" in kind and any(word in str(reason) for word in _NOT_TLS):
                remedy = f"it answers without TLS: give --host {host.replace('https', 'http', 1)}"
            elif "SSL" in kind:
                remedy = f"give the certificate of its authority with --ca-file; {_REACH}"
            raise ServerAway(f"the server cannot be reached ({kind})", where=host, remedy=remedy) from None


def _configuration(connection: Connection) -> Any:
    """Of the generated client: where to, as whom, and how often to try."""
    from kfp_server_api import Configuration
    from urllib3 import Retry

    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # what is tried again needs no words
    configuration = Configuration(host=connection.host)
    configuration.retries = Retry(
        total=3, connect=1, redirect=0, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504), retry_after_max=10,
        allowed_methods=("GET",), raise_on_status=False, raise_on_redirect=False,
    )  # fmt: skip
    if connection.ca_file is not None:
        configuration.ssl_ca_cert = str(connection.ca_file)
    address = urlsplit(connection.host)
    if not proxy_bypass(address.hostname or ""):
        configuration.proxy = getproxies().get(address.scheme)
    if connection.token() is not None:
        configuration.api_key["authorization"] = "read anew for each request"
        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.refresh_api_key_hook = lambda asking: asking.api_key.update(authorization=connection.token())
    return configuration


def _namespace(connection: Connection, several_users: bool | None) -> str | None:
    """The namespace that requests name: all of them on a server with several users, none on others."""
    if several_users:
        namespace = connection.namespace or connection.pod_namespace
        if namespace is None:
            remedy = "give --namespace, that of your Kubeflow profile"
            raise ClusterError(
                "the server has several users and needs a namespace", where=connection.host, remedy=remedy
            )
        return namespace
    if connection.namespace is not None:
        remedy = "leave --namespace away (and ADVANTAGEFLOW_KFP_NAMESPACE unset)"
        raise ClusterError("the server has a single user and knows no namespaces", where=connection.host, remedy=remedy)
    return None


def find_or_create(find: Callable[[], str | None], create: Callable[[], str]) -> str:
    """The id of what has a name: what `find` gives, else what `create` makes, else what somebody made meanwhile.
    Raises ClusterError: as the two raise; the name is taken by something that cannot be found.
    """
    found = find()
    if found is not None:
        return found
    try:
        return create()
    except AlreadyThere:
        found = find()
        if found is None:
            raise
        return found
