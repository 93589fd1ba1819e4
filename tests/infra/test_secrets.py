"""infra/secrets.sh: random where it can be, copied where it must be, and never half."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

SCRIPT = Path(__file__).resolve().parents[2] / "infra" / "secrets.sh"

pytestmark = pytest.mark.usefixtures("needs_kubectl")


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | environment
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False, env=variables)


def values(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """Decoded values of the printed secrets, by namespace/name."""
    assert done.returncode == 0, done.stderr
    found = {}
    for one in yaml.safe_load_all(done.stdout):
        kubernetes_validate.validate(one, "1.37", strict=True)
        place = f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        found[place] = {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
    return found


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "s3.env"
    file.write_text("# mine\nAWS_ACCESS_KEY_ID=my-key\nAWS_SECRET_ACCESS_KEY=a+b/c=d\nOTHER=1\n")
    return file


def test_a_key_of_ones_own_goes_to_mlflow_and_to_the_runs(key: Path) -> None:
    found = values(run("--s3", key))
    expected = {"AWS_ACCESS_KEY_ID": "my-key", "AWS_SECRET_ACCESS_KEY": "a+b/c=d"}
    assert found["advantageflow/advantageflow-s3"] == found["kubeflow/advantageflow-s3"] == expected
    assert found.keys() == {
        "advantageflow/advantageflow-s3", "kubeflow/advantageflow-s3", "advantageflow/advantageflow-postgres"
    }  # fmt: skip


def test_the_databases_password_is_another_each_time(key: Path) -> None:
    first, second = (values(run("--s3", key))["advantageflow/advantageflow-postgres"] for _ in range(2))
    assert first["username"] == second["username"] == "mlflow"
    assert first["password"] != second["password"]
    assert len(base64.b64decode(first["password"])) == 32


def test_without_keys_there_is_no_secret_for_s3() -> None:
    assert values(run("--no-s3")).keys() == {"advantageflow/advantageflow-postgres"}


def test_a_hub_token_and_another_namespace(key: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_abc\n")
    found = values(run("--s3", key, "--hf-token", tmp_path / "token", "--runs-namespace", "team"))
    assert found["team/advantageflow-hf"] == {"HF_TOKEN": "hf_abc"}
    assert "team/advantageflow-s3" in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--s3-from-kfp, --s3 FILE or --no-s3"),
        (["--s3"], "--s3 needs a value"),
        (["--s3", "absent.env"], "absent.env cannot be read"),
        (["--s3", "empty.env"], "empty.env gives no AWS_ACCESS_KEY_ID or no AWS_SECRET_ACCESS_KEY"),
        (["--s4"], "there is no option --s4"),
        (["--s3", "s3.env", "--hf-token", "absent"], "absent cannot be read or is empty"),
    ],
)
def test_a_wrong_call_prints_one_error_and_no_secret(
    arguments: list[str], message: str, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.env").write_text("AWS_ACCESS_KEY_ID=only\n")
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


class Cluster(BaseHTTPRequestHandler):
    """As much of a Kubernetes API server as `kubectl get secret` asks."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        resource = {"name": "secrets", "namespaced": True, "kind": "Secret", "verbs": ["get"]}
        data = {
            "accesskey": base64.b64encode(b"kfp-key").decode(),
            "secretkey": base64.b64encode(b"kfp-secret").decode(),
        }
        replies: dict[str, dict[str, Any]] = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [resource]},
            "/api/v1/namespaces/kubeflow/secrets/mlpipeline-minio-artifact": {
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mlpipeline-minio-artifact"}, "data": data,
            },
        }  # fmt: skip
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(replies.get(path, missing)).encode()
        self.send_response(200 if path in replies else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    file = tmp_path / "kubeconfig"
    cluster = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "here", "context": {"cluster": "here", "user": ""}}
    file.write_text(json.dumps({"clusters": [cluster], "contexts": [context], "current-context": "here"}))
    yield file
    server.shutdown()
    server.server_close()


def test_the_key_of_kfps_object_store_is_copied(kubeconfig: Path, tmp_path: Path) -> None:
    found = values(run("--s3-from-kfp", KUBECONFIG=str(kubeconfig), HOME=str(tmp_path)))
    expected = {"AWS_ACCESS_KEY_ID": "kfp-key", "AWS_SECRET_ACCESS_KEY": "kfp-secret"}
    assert found["advantageflow/advantageflow-s3"] == found["kubeflow/advantageflow-s3"] == expected


def test_without_that_key_there_is_kubectls_error_and_no_secret(kubeconfig: Path, tmp_path: Path) -> None:
    arguments = ("--s3-from-kfp", "--runs-namespace", "elsewhere")
    done = run(*arguments, KUBECONFIG=str(kubeconfig), HOME=str(tmp_path))
    assert done.returncode != 0
    assert done.stdout == ""
    assert "NotFound" in done.stderr or "not found" in done.stderr
