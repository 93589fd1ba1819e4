"""Where a model's configurations come from: its folder, the hub's cache, this package; never the network."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest

from advantageflow.errors import PolicyError, StoreError
from advantageflow.policy.configs import known_models, model_configs
from advantageflow.policy.loading import EMBEDDED_MODEL
from advantageflow.settings import ModelSettings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED_MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors")))


def test_the_embedded_model_and_a_folder_are_read_from_their_files(folder: Path) -> None:
    embedded, local = (model_configs(ModelSettings(name=name)) for name in ("shapes", str(folder)))
    assert embedded.parts == local.parts
    assert list(local.parts) == ["transformer", "vae", *local.family.text_encoders]
    assert local.origin == str(folder)
    assert "_class_name" not in local.arguments("transformer")


def test_an_absent_text_encoder_is_not_there(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder_3")
    assert "text_encoder_3" not in model_configs(ModelSettings(name=str(folder))).parts


@pytest.mark.parametrize("name", ["stabilityai/stable-diffusion-3.5-large", "s3://bucket/stable-diffusion-3.5-large/"])
def test_a_known_model_needs_no_download(name: str, cache: Path) -> None:
    configs = model_configs(ModelSettings(name=name))
    assert configs.parts["transformer"]["num_layers"] == 38
    assert "this package ships" in configs.origin


def test_the_hub_cache_comes_before_what_the_package_ships(folder: Path, cache: Path) -> None:
    name = "stabilityai/stable-diffusion-3.5-medium"
    place = cache / "models--stabilityai--stable-diffusion-3.5-medium"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    shutil.copytree(folder, place / "snapshots" / "abc")
    configs = model_configs(ModelSettings(name=name))
    assert configs.parts["transformer"]["num_layers"] == 5
    assert "hub cache" in configs.origin


def test_an_unknown_model_says_which_are_known(cache: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        model_configs(ModelSettings(name="someone/else"))
    assert "someone/else" in caught.value.where
    assert all(name in caught.value.remedy for name in known_models())


@pytest.mark.parametrize(
    ("damage", "words"), [("{", "cannot be read"), ("[]", "a JSON object"), (None, "no transformer/config.json")]
)
def test_a_damaged_folder_is_named(folder: Path, damage: str | None, words: str) -> None:
    config = folder / "transformer" / "config.json"
    config.unlink()
    if damage is not None:
        config.write_text(damage)
    with pytest.raises((PolicyError, StoreError), match=words) as caught:
        model_configs(ModelSettings(name=str(folder)))
    assert str(folder) in caught.value.where


def test_shipped_configurations_have_all_parts() -> None:
    for name in known_models():
        configs = model_configs(ModelSettings(name=name))
        assert list(configs.parts) == ["transformer", "vae", *configs.family.text_encoders]
