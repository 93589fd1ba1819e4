"""The API itself: requests to Kubeflow's generated client, one at a time, with every failure as one clear error.

Kubeflow's own `kfp.Client` stands between a person and this API, and is left out: it prints links, keeps the namespace
in a file of the home folder, retries a refused health check for half a minute with tracebacks, has no time-outs, and
takes a sign-in page for an empty answer.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from advantageflow.errors import ClusterError
from advantageflow_pipelines.client.connection import Connection
from advantageflow_pipelines.client.refusals import AlreadyThere, ServerAway, no_api, refusal, sign_in_page

_TIMEOUT = (10.0, 60.0)  # seconds to connect, and to wait for an answer
_PAGE = 100  # of a list; the server gives at most 200
_REACH = "check the address, the network (a VPN, a port-forward) and that Kubeflow Pipelines is running"
_IN_DOUBT = "it may have happened all the same: see `advantageflow runs --host` or `schedule list` before trying again"
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "wrong version number", "record layer failure")

Operation = Any  # a method of a generated service


class Api:
    """A server's API, checked to be one when it is made.

    Attributes:
        connection: how it is reached.
        namespace: to be named in requests; None on a server with a single user.
        runs, experiments, pipelines, uploads, schedules: the generated services.

    Raises:
        ClusterError: the server cannot be reached, refuses, is not one of Kubeflow's, or needs a namespace.
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

        Args:
            operation: a method of a generated service.
            what: is asked for, for the error.
            changes: whether something is there afterwards that was not before; such a request is sent once only.
            arguments: of the operation.

        Raises:
            ClusterError: no answer came, or a refusal.
        """
        with_headers = getattr(operation.__self__, f"{operation.__name__}_with_http_info")
        with self._explaining(what, changes):
            answer, _, headers = with_headers(**arguments, _request_timeout=_TIMEOUT)
        kind = (headers.get("Content-Type") or "").partition(";")[0]
        if kind == "text/html":
            raise sign_in_page(self.connection.host)
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

    Raises:
        ClusterError: as the two raise; the name is taken by something that cannot be found.
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
