"""Fingerprints of a base model: another one as soon as other weights lie under its name, wherever that is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import huggingface_hub
import pytest
from moto.server import ThreadedMotoServer

from advantageflow.errors import PolicyError
from advantageflow.policy.fingerprint import transformer_fingerprint
from advantageflow.settings import ModelSettings

HUB = ModelSettings(name="team/model")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "k",
                        "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield
    server.stop()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model in the hub's cache: its folder there, with two commits, of which `main` is the first."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--team--model"
    for commit in ("a" * 40, "b" * 40):
        config = folder / "snapshots" / commit / "transformer" / "config.json"
        config.parent.mkdir(parents=True)
        config.touch()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    return folder


def test_of_a_folder_it_changes_with_the_weights_though_their_size_stays(tmp_path: Path) -> None:
    model = ModelSettings(name=str(tmp_path))
    (tmp_path / "model_index.json").touch()
    (tmp_path / "transformer").mkdir()
    (tmp_path / "vae").mkdir()
    (tmp_path / "transformer" / WEIGHTS).write_bytes(b"first")
    before = transformer_fingerprint(model)
    (tmp_path / "vae" / WEIGHTS).write_bytes(b"of no concern")
    assert transformer_fingerprint(model) == before
    partial = tmp_path / "partial"
    partial.write_bytes(b"other")
    partial.replace(tmp_path / "transformer" / WEIGHTS)
    assert transformer_fingerprint(model) != before


def test_on_s3_it_changes_with_the_object_though_its_size_stays(s3: None) -> None:
    client, model = boto3.client("s3"), ModelSettings(name="s3://bucket/model/")
    client.create_bucket(Bucket="bucket")
    prints = []
    for content in (b"first", b"first", b"other"):
        client.put_object(Bucket="bucket", Key=f"model/transformer/{WEIGHTS}", Body=content)
        prints.append(transformer_fingerprint(model))
    assert prints[0] == prints[1] != prints[2]


def test_on_the_hub_it_is_the_commit_that_a_branch_is_at(hub: Path) -> None:
    assert transformer_fingerprint(HUB) == "a" * 40
    (hub / "refs" / "main").write_text("b" * 40)
    assert transformer_fingerprint(HUB) == "b" * 40
    assert transformer_fingerprint(ModelSettings(name=HUB.name, revision="a" * 40)) == "a" * 40


def test_a_model_whose_commit_is_not_known_is_an_error(hub: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be told"):
        transformer_fingerprint(ModelSettings(name="team/another"))
