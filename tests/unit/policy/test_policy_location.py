"""Where models are: folders and hubs that have them, and the one message for each way in which they are not there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import huggingface_hub
import pytest
from moto.server import ThreadedMotoServer

from advantageflow.errors import PolicyError, StoreError
from advantageflow.policy.loading import load_family, load_transformer, load_vae
from advantageflow.policy.location import model_location, part_location, read_file
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import ModelSettings

NAME = "stabilityai/stable-diffusion-3.5-medium"
ANSWERS = {
    "gated": (401, {"X-Error-Code": "GatedRepo"}),
    "not granted": (403, {"X-Error-Code": "GatedRepo"}),
    "unknown": (404, {"X-Error-Code": "RepoNotFound"}),
    "no revision": (404, {"X-Error-Code": "RevisionNotFound"}),
    "no pipeline": (404, {"X-Error-Code": "EntryNotFound"}),
    "forbidden": (403, {}),
}


class Hub(BaseHTTPRequestHandler):
    """Answers every request in one way."""

    answer = "gated"

    def do_GET(self) -> None:
        status, headers = ANSWERS[self.answer]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Makes a hub of this machine the one that models come from; to be told how it answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    use_hub(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
    yield lambda answer: monkeypatch.setattr(Hub, "answer", answer)
    server.shutdown()
    server.server_close()


def use_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, endpoint: str) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))


@pytest.mark.parametrize(
    ("answer", "message", "remedy"),
    [
        ("gated", "gated", f"accept its licence at https://huggingface.co/{NAME}, then log in"),
        ("not granted", "gated", "accept its licence"),
        ("unknown", "no such model on the hub", "check model.name"),
        ("no revision", "no revision 'v9'", "model.revision"),
        ("no pipeline", "has no model_index.json", "diffusers"),
        ("forbidden", "HTTP 403", "log in"),
    ],
)
def test_what_the_hub_refuses_is_one_message_with_the_remedy(
    hub: Callable[[str], None], answer: str, message: str, remedy: str
) -> None:
    hub(answer)
    with pytest.raises(PolicyError, match=message) as caught:
        encode_prompts(ModelSettings(name=NAME, revision="v9"), ["a"])
    assert caught.value.where == NAME
    assert remedy in caught.value.remedy
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("forced", [False, True])
def test_without_a_network_the_hub_is_said_to_be_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forced: bool
) -> None:
    use_hub(monkeypatch, tmp_path, "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits between its tries
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", forced)
    with pytest.raises(PolicyError, match="cannot be reached") as caught:
        load_transformer(ModelSettings(name=NAME))
    assert "s3://" in caught.value.remedy


@pytest.mark.parametrize("name", ["a/b/c", "no such thing"])
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_said_so(name: str) -> None:
    with pytest.raises(PolicyError, match="no such folder, and it is not a hub id"):
        load_family(ModelSettings(name=name))


@pytest.mark.parametrize("size", ["medium", "large"])
def test_hub_ids_of_stable_diffusion_35_go_through(size: str) -> None:
    model = ModelSettings(name=f"stabilityai/stable-diffusion-3.5-{size}", revision="main")
    assert model_location(model) == model.name
    assert part_location(model, "vae") == (model.name, {"subfolder": "vae", "revision": "main"})


def test_a_pipeline_of_another_family_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(PolicyError, match="StableDiffusionXLPipeline, which is not supported") as caught:
        load_transformer(ModelSettings(name=str(tmp_path)))
    assert "StableDiffusion3Pipeline, MeanFlowPipeline, FluxPipeline" in caught.value.remedy


def test_a_folder_that_lacks_a_part_is_said_to_be_incomplete(dev: ModelSettings, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text((Path(dev.name) / "model_index.json").read_text())
    model = ModelSettings(name=str(tmp_path))
    with pytest.raises(PolicyError, match="incomplete: file not found"):
        read_file(model, "transformer/config.json")
    for load in (load_transformer, load_vae, lambda one: encode_prompts(one, ["a"])):
        with pytest.raises(PolicyError, match="incomplete") as caught:
            load(model)
        assert "whole" in caught.value.remedy


def test_a_model_in_s3_is_fetched_part_by_part_into_the_cache(
    dev: ModelSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    for file in (path for path in Path(dev.name).rglob("*") if path.is_file()):
        client.upload_file(str(file), "models", f"flux/{file.relative_to(dev.name)}")
    model = dev.model_copy(update={"name": "s3://models/flux/"})
    try:
        here, there = load_transformer(dev).state_dict(), load_transformer(model).state_dict()
        assert all(value.equal(here[name]) for name, value in there.items())
        assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["diffusion_pytorch_model.safetensors"]
        for ours, theirs in zip(*(encode_prompts(one, ["a"]).tensors.values() for one in (model, dev)), strict=True):
            assert ours.equal(theirs)
        with pytest.raises(StoreError, match="no such object"):
            load_transformer(dev.model_copy(update={"name": "s3://models/none"}))
    finally:
        server.stop()
