"""Whatever a server answers, or does not, a person gets one clear error with a remedy, and never a secret."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kfp_stub.server import Fault, KfpStub, said

from advantageflow.errors import ClusterError
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import Connection, make_connection
from advantageflow_pipelines.client.runs import experiment_id, find_experiment, list_runs

HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"
HEALTH = "healthz_service_get_healthz"
CREATE = "experiment_service_create_experiment"


def to(server: KfpStub, **credentials: Any) -> Connection:
    return replace(make_connection(server.url), **credentials)


def test_a_host_where_nothing_listens_cannot_be_reached() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match="cannot be reached") as raised:
        Api(make_connection(f"http://127.0.0.1:{port}"))
    assert "port-forward" in raised.value.remedy
    assert "may have happened" not in raised.value.remedy


def test_a_host_that_does_not_exist_cannot_be_reached() -> None:
    with pytest.raises(ClusterError, match=r"cannot be reached.*NameResolution"):
        Api(make_connection("http://kubeflow.invalid"))


@pytest.mark.parametrize(
    ("answer", "words", "remedy"),
    [
        (said(401, "token expired", code=16), "does not know who asks (HTTP 401): token expired", "--token-file"),
        (Fault(401, b"", "text/plain"), "does not know who asks (HTTP 401)", "--cookie-file"),
        (said(403, "RBAC: access denied"), "not allowed", "--namespace"),
        (Fault(404, b"404 page not found", "text/plain"), "not a Kubeflow Pipelines 2 API server", "https://HOST/pipeline"),
        (Fault(404, HTML, "text/html"), "not a Kubeflow Pipelines 2 API server", "https://HOST/pipeline"),
        (Fault(200, HTML, "text/html"), "a web page came", "--cookie-file"),
        (Fault(200, b"hello", "text/plain"), "answers with text/plain", "https://HOST/pipeline"),
        (Fault(200, b"\xff\xfe", "application/json"), "not text", "https://HOST/pipeline"),
        (Fault(302, b"", headers={"Location": "https://id.example/dex?state=x"}), "https://id.example/dex", "--cookie"),
        (said(400, "odd"), "does not take its state of health (HTTP 400): odd", "2.17"),
        (said(500, "no database", code=13), "failed at its state of health (HTTP 500): no database", "ml-pipeline"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_of_the_apis_is_explained(
    server: KfpStub, answer: Fault, words: str, remedy: str
) -> None:
    server.faults[HEALTH] = [answer]
    with pytest.raises(ClusterError) as raised:
        Api(to(server))
    assert words in raised.value.message
    assert remedy in raised.value.remedy
    assert raised.value.where == server.url


def test_a_server_that_wants_https_is_said_to(server: KfpStub) -> None:
    secure = server.url.replace("http:", "https:")
    server.faults[HEALTH] = [Fault(301, b"", headers={"Location": f"{secure}/apis/v2beta1/healthz"})]
    with pytest.raises(ClusterError, match="wants https") as raised:
        Api(to(server))
    assert f"--host {secure}" in raised.value.remedy


@pytest.mark.parametrize(
    ("answer", "words", "remedy"),
    [
        (said(429, "slow down", code=8), "takes no more requests", "try again"),
        (said(403, 'workflows "x" is forbidden: exceeded quota: team, used: 5, limited: 5'), "a quota", "larger quota"),
        (said(500, "Failed to create a workflow: exceeded quota: team", code=13), "a quota", "--resources"),
        (said(500, "etcdserver: request is too large", code=13), "so large a pipeline", "--init-policy"),
        (said(413, "limit 33554432"), "so large a pipeline", "fewer rounds"),
        (said(400, "Pipeline upload authentication failed."), "does not know who asks", "--token-file"),
        (said(400, 'pipeline upload denied: permission to create is required'), "not allowed", "contributor"),
        (said(400, "Invalid input error: name is too long", code=3), "does not take experiment 'e' (HTTP 400)", "mend"),
    ],
)  # fmt: skip
def test_a_refused_change_is_explained(server: KfpStub, answer: Fault, words: str, remedy: str) -> None:
    api = Api(to(server))
    server.faults[CREATE] = [answer]
    with pytest.raises(ClusterError) as raised:
        experiment_id(api, "e")
    assert words in raised.value.message
    assert remedy in raised.value.remedy


def test_long_words_of_a_server_are_cut(server: KfpStub) -> None:
    server.faults[HEALTH] = [said(400, "word " * 1000)]
    with pytest.raises(ClusterError) as raised:
        Api(to(server))
    assert len(raised.value.message) < 600


def test_what_only_reads_is_asked_again(server: KfpStub) -> None:
    api = Api(to(server))
    server.faults["experiment_service_list_experiments"] = [said(503, "starting"), Fault(0, b"")]
    assert find_experiment(api, "e") is None
    assert len(server.bodies("experiment_service_list_experiments")) == 3


@pytest.mark.parametrize("answer", [said(503, "starting"), Fault(0, b"")])
def test_a_change_is_sent_once(server: KfpStub, answer: Fault) -> None:
    api = Api(to(server))
    server.faults[CREATE] = [answer]
    with pytest.raises(ClusterError) as raised:
        experiment_id(api, "e")
    assert len(server.bodies(CREATE)) == 1
    assert not server.state.experiments
    assert ("it may have happened all the same" in raised.value.remedy) == (answer.status == 0)


def test_a_sign_in_page_later_on_is_no_empty_list(server: KfpStub) -> None:
    api = Api(to(server))
    server.faults["run_service_list_runs"] = [Fault(200, HTML, "text/html")]
    with pytest.raises(ClusterError, match="a web page came"):
        list(list_runs(api))


def test_no_secret_is_in_an_error_even_if_the_server_repeats_it(server: KfpStub) -> None:
    connection = to(server, fixed_token="very-secret-token", cookie="session=very-secret-cookie")
    server.faults[HEALTH] = [said(403, "no: Bearer very-secret-token, session=very-secret-cookie")]
    with pytest.raises(ClusterError) as raised:
        Api(connection)
    assert "secret" not in str(raised.value) + repr(raised.value) + repr(connection)
    assert "[hidden]" in raised.value.message
    assert raised.value.__cause__ is None, "the server's own error has the headers"


def test_each_request_carries_the_token_of_the_moment_and_the_cookies(server: KfpStub, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    server.token = "first"
    api = Api(to(server, token_file=file, cookie="session=a; other=b"))
    server.token = "second"
    file.write_text("second\n")  # as Kubernetes renews it
    assert list(list_runs(api)) == []
    assert {headers["Cookie"] for _, headers, _ in server.seen} == {"session=a; other=b"}


def test_a_server_is_reached_by_the_proxy_of_the_environment(server: KfpStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/pipeline"))
    monkeypatch.setenv("no_proxy", "inside.invalid")
    assert list(list_runs(Api(make_connection("http://kubeflow.invalid/pipeline")))) == []
    with pytest.raises(ClusterError, match="NameResolution"):
        Api(make_connection("http://inside.invalid/pipeline"))


def test_a_server_behind_an_unknown_authority_needs_its_certificate(certificate: tuple[Path, KfpStub]) -> None:
    file, secure = certificate
    with pytest.raises(ClusterError, match="SSL") as raised:
        Api(to(secure))
    assert "--ca-file" in raised.value.remedy
    assert Api(make_connection(secure.url, ca_file=file)).namespace is None
