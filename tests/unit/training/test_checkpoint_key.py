"""The name of checkpoints: the same for another attempt, another one when code or base model have changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import advantageflow
from advantageflow.settings import ModelSettings, RewardSettings, TrainingSettings
from advantageflow.training.checkpoint_key import checkpoint_key
from advantageflow.training.shards import load_round


@pytest.fixture
def own_model(model: ModelSettings, tmp_path: Path) -> ModelSettings:
    return ModelSettings(name=str(shutil.copytree(model.name, tmp_path / "model")))


@pytest.fixture
def key(maker: Any, settings: TrainingSettings, own_model: ModelSettings) -> Callable[[], str]:
    """The name that an attempt would give its checkpoints now."""
    world = maker.make()
    reward = RewardSettings()
    data = load_round(
        world.prompts, world.conditioning, world.latents, world.scores,
        reward=reward, round_index=1, policy_sha256=None,
    )  # fmt: skip
    return lambda: checkpoint_key(settings, reward, own_model, seed=0, round_index=1, policy=world.policy, data=data)


def test_another_attempt_has_the_same_name(key: Callable[[], str]) -> None:
    assert key() == key()


def test_other_weights_in_the_model_s_folder_have_another(key: Callable[[], str], own_model: ModelSettings) -> None:
    before = key()
    (weights,) = Path(own_model.name).rglob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert key() != before


def test_other_code_of_the_same_version_has_another(
    key: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = key()
    package = shutil.copytree(Path(advantageflow.__file__).parent, tmp_path / "package")
    monkeypatch.setattr(advantageflow, "__file__", str(package / "__init__.py"))
    assert key() == before
    with (package / "flow" / "advantages.py").open("a") as code:
        code.write("# changed\n")
    assert key() != before
