"""What boto3 finds on this machine, it finds in the containers of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker.client import DockerClient

from advantageflow.settings import RunSettings
from advantageflow_pipelines.local.containers import container_arguments
from advantageflow_pipelines.local.kfp_process import run_container
from advantageflow_pipelines.local.workdir import create_workdir

pytestmark = pytest.mark.slow

FOUND = """
import boto3
session = boto3.Session()
print(session.get_credentials().access_key, session.client("s3").meta.endpoint_url)
"""


def test_a_profile_that_only_its_owner_may_read_is_found(
    engine: DockerClient,
    images: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    (tmp_path / ".aws").mkdir(mode=0o700)
    for name, text in {
        "config": "[profile mine]\nregion = eu-1\nendpoint_url = https://s3.example:9000\n",
        "credentials": "[mine]\naws_access_key_id = key-of-mine\naws_secret_access_key = secret\n",
    }.items():
        (tmp_path / ".aws" / name).write_text(text)
        (tmp_path / ".aws" / name).chmod(0o600)
    arguments = container_arguments(engine, create_workdir(tmp_path / "run", RunSettings()))
    status = run_container(engine, images["rollout"], ["python3", "-c", FOUND], {}, **arguments)
    shown = capsys.readouterr().out
    assert (status, shown.strip()) == (0, "key-of-mine https://s3.example:9000")
