"""Addresses and credentials: where they come from, and what is said of those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kfp_stub.server import KfpStub

from advantageflow.errors import ClusterError
from advantageflow_pipelines.client import connection
from advantageflow_pipelines.client.connection import make_connection

Command = Callable[..., tuple[int, str, str]]
HOST = "https://kf.example"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://kf.example/pipeline/", "https://kf.example/pipeline"),
        ("kf.example/pipeline", "https://kf.example/pipeline"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("https://kf.example/pipeline/#/runs/details/7", "https://kf.example/pipeline"),
        ("https://kf.example/pipeline?ns=team", "https://kf.example/pipeline"),
        (" https://[::1]:8888 ", "https://[::1]:8888"),
        ("127.0.0.1:8888", "http://127.0.0.1:8888"),
        ("[::1]:8888/pipeline", "http://[::1]:8888/pipeline"),
        ("localhost:8080", "http://localhost:8080"),
        ("10.0.0.7", "http://10.0.0.7"),
        ("ml-pipeline.kubeflow.svc:8888", "http://ml-pipeline.kubeflow.svc:8888"),
        ("8.8.8.8:8888", "https://8.8.8.8:8888"),
    ],
)
def test_an_address_is_taken_as_people_have_it(given: str, address: str) -> None:
    assert make_connection(given).host == address


@pytest.mark.parametrize("given", ["ftp://kf.example", "https://", "https://kf.example:port", "https://kf.example:0"])
def test_other_addresses_are_refused(given: str) -> None:
    with pytest.raises(ClusterError, match="--host: not an http"):
        make_connection(given)


def test_a_server_without_tls_needs_no_certificate_but_http(advantageflow: Command, server: KfpStub) -> None:
    status, _, err = advantageflow("runs", "--host", server.url.replace("http", "https"))
    assert status == 2
    assert f"give --host {server.url}" in err
    assert "--ca-file" not in err


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(ClusterError, match="others can see") as raised:
        make_connection("https://me:secret@kf.example")
    assert "secret" not in str(raised.value)


def test_without_a_host_one_is_asked_for(advantageflow: Command) -> None:
    status, _, err = advantageflow("runs", "follow", "some-run")
    assert status == 2
    assert "KF_PIPELINES_ENDPOINT" in err


def test_in_the_cluster_service_token_and_namespace_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, namespace = tmp_path / "token", tmp_path / "namespace"
    token.write_text("of-the-pod")
    namespace.write_text("team-a")
    monkeypatch.setattr(connection, "_POD_NAMESPACE", namespace)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    made = make_connection(None, in_cluster=True)
    assert made.token() == "of-the-pod"
    assert made.host == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    assert (made.namespace, made.pod_namespace) == (None, "team-a")


def test_the_namespace_of_the_pod_is_used_on_a_server_with_several_users_only(
    server: KfpStub, shared_server: KfpStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from advantageflow_pipelines.client.api import Api

    file = tmp_path / "namespace"
    file.write_text("team-a")
    monkeypatch.setattr(connection, "_POD_NAMESPACE", file)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    for stub, namespace in ((server, None), (shared_server, "team-a")):
        assert Api(make_connection(stub.url, in_cluster=True)).namespace == namespace


def test_a_pod_without_a_token_is_told_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="no token") as raised:
        make_connection(HOST, in_cluster=True)
    assert "pipelines.kubeflow.org" in raised.value.remedy


def test_files_come_before_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, cookie = tmp_path / "token", tmp_path / "cookie"
    token.write_text(" from-file \n")
    cookie.write_text("session=file\n")
    found = make_connection(HOST)
    assert (found.token(), found.cookie) == (None, None)
    monkeypatch.setenv("ADVANTAGEFLOW_KFP_TOKEN", "from-variable")
    monkeypatch.setenv("ADVANTAGEFLOW_KFP_COOKIE", "session=variable")
    found = make_connection(HOST)
    assert (found.token(), found.cookie) == ("from-variable", "session=variable")
    found = make_connection(HOST, token_file=token, cookie_file=cookie)
    assert (found.token(), found.cookie) == ("from-file", "session=file")


@pytest.mark.parametrize("text", ["", "  \n", "Bearer abc", "a\nb", "tök"])
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ClusterError, match="holds no token") as raised:
        make_connection(HOST, token_file=file)
    assert text.strip() == "" or text not in str(raised.value)


@pytest.mark.parametrize("text", ["session", "a=b\nc=d"])
def test_what_is_no_cookie_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cookie"
    file.write_text(text)
    with pytest.raises(ClusterError, match="holds no cookie"):
        make_connection(HOST, cookie_file=file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="No such file") as raised:
        make_connection(HOST, token_file=tmp_path / "none")
    assert str(tmp_path / "none") in raised.value.where
    with pytest.raises(ClusterError, match="no such file"):
        make_connection(HOST, ca_file=tmp_path / "none")


def test_two_tokens_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="two tokens"):
        make_connection(HOST, token_file=tmp_path / "token", in_cluster=True)


def test_a_token_is_never_an_option(advantageflow: Command) -> None:
    _, out, _ = advantageflow("submit", "-h")
    assert "--token-file" in out
    assert "--token " not in out
    assert "--cookie " not in out
