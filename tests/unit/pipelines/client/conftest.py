"""A server to ask, and the command line that asks it."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from kfp_stub.server import KfpStub, serving

from advantageflow.tracking.mlflow_store import open_client, sqlite_uri
from advantageflow_pipelines import cli
from advantageflow_pipelines.client import follow
from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.placing.cluster import ClusterRun

Command = Callable[..., tuple[int, str, str]]
RECORDINGS = Path(__file__).parents[3] / "data" / "kfp-live"
_COMPILED: dict[str, Package] = {}
_VARIABLES = (
    "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_DEFAULT_EXPERIMENT_NAME",
    "KF_PIPELINES_SA_TOKEN_PATH", "ADVANTAGEFLOW_KFP_TOKEN", "ADVANTAGEFLOW_KFP_TOKEN_FILE", "ADVANTAGEFLOW_KFP_COOKIE",
    "ADVANTAGEFLOW_KFP_COOKIE_FILE", "ADVANTAGEFLOW_KFP_NAMESPACE", "ADVANTAGEFLOW_KFP_CA_FILE",
    "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server, credentials or settings of the developer's."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.01)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal runs are compiled once for all tests: Kubeflow's compiler takes a second for each."""
    compile_run = ClusterRun.package

    def package(run: ClusterRun) -> Package:
        key = repr((run.settings, dict(run.images), run.resources, run.segments))
        if key not in _COMPILED:
            _COMPILED[key] = compile_run(run)
        return _COMPILED[key]

    monkeypatch.setattr(ClusterRun, "package", package)


@pytest.fixture
def server() -> Iterator[KfpStub]:
    """A server with a single user, which must not get a request that its description does not allow."""
    with serving() as stub:
        yield stub
    assert not stub.violations


@pytest.fixture
def shared_server() -> Iterator[KfpStub]:
    """A server with several users."""
    with serving(several_users=True) as stub:
        yield stub
    assert not stub.violations


@pytest.fixture
def advantageflow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run a command in an empty folder; gives its exit status and what it printed.

    It runs in a thread, whose stack is short: Kubeflow's compiler looks through all of it for each setting of a task.
    """
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["advantageflow", *arguments])
        with ThreadPoolExecutor(1) as thread:
            left = thread.submit(cli.main).exception()
        assert isinstance(left, SystemExit), left
        shown = capsys.readouterr()
        return int(left.code or 0), shown.out, shown.err

    return run


@pytest.fixture(scope="session")
def pipeline_spec() -> dict[str, Any]:
    """A pipeline of two rounds and two shards, as most recorded runs are of."""
    golden = Path(__file__).parents[3] / "golden" / "online-2-rounds-2-shards.yaml"
    return dict(yaml.load(golden.read_text(), yaml.CSafeLoader))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an MLflow store that tests share; making one takes seconds."""
    uri = sqlite_uri(tmp_path_factory.mktemp("mlflow") / "mlflow.db")
    open_client(uri)
    return uri


@pytest.fixture
def replayed(server: KfpStub, pipeline_spec: dict[str, Any]) -> Callable[[str], str]:
    """Have the server answer for a run as a live one did, given by its name; gives the run's id."""

    def replay(name: str, run_id: str | None = None) -> str:
        return server.state.replay(RECORDINGS / f"{name}.jsonl.gz", run_id, pipeline_spec)

    return replay


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[tuple[Path, KfpStub]]:
    """A secure server, and the file of its self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, key_file = tmp_path / "certificate.pem", tmp_path / "key.pem"
    file.write_bytes(signed.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file, key_file)
    with serving(tls=tls) as stub:
        yield file, stub
