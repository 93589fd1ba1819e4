"""Adapters: fresh ones change nothing, saved ones come back, corrupt ones are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from advantageflow.errors import PolicyError
from advantageflow.policy.adapters import Adapters, attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import LoraSettings
from advantageflow.shapes.architecture import build_transformer

FAMILY = StableDiffusion3()
LORA = LoraSettings(rank=2, alpha=4)


def transformer() -> nn.Module:
    torch.manual_seed(0)
    model = build_transformer(width=32, layers=2)
    return model.requires_grad_(False).eval()


def write_state(folder: Path, adapter: str | None) -> None:
    state = {"round": 0, "step": 0, "adapter": adapter, "policy_sha256": None}
    (folder / "state.json").write_text(json.dumps(state))


def velocity(model: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    dtype = next(model.parameters()).dtype
    out: torch.Tensor = model(
        hidden_states=torch.randn(2, 8, 6, 6, generator=generator).to(dtype),
        timestep=torch.tensor([100.0, 900.0]),
        encoder_hidden_states=torch.randn(2, 20, 128, generator=generator).to(dtype),
        pooled_projections=torch.randn(2, 128, generator=generator).to(dtype),
        return_dict=False,
    )[0]
    return out.detach()


@pytest.fixture
def base_policy(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    write_state(folder, None)
    return folder


def trained(model: nn.Module, base_policy: Path) -> Adapters:
    adapters = attach_adapters(model, base_policy, LORA, 3, FAMILY)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.add_(0.1)
    return adapters


def saved(adapters: Adapters, folder: Path) -> Path:
    adapters.save(folder)
    write_state(folder, ADAPTER_FOLDER)
    return folder


def test_fresh_adapters_change_nothing_and_only_the_policy_trains(base_policy: Path) -> None:
    model = transformer()
    before = velocity(model)
    adapters = attach_adapters(model, base_policy, LORA, 3, FAMILY)
    for name in (ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, None):
        adapters.use(name)
        torch.testing.assert_close(velocity(model), before)
        trainable = {id(p) for p in model.parameters() if p.requires_grad}
        assert trainable == {id(p) for p in adapters.parameters()}


def test_policies_are_independent_and_the_moving_average_joins_them(base_policy: Path) -> None:
    model = transformer()
    before = velocity(model)
    adapters = trained(model, base_policy)
    changed = velocity(model)
    assert not torch.allclose(changed, before)
    adapters.use(ROLLOUT_ADAPTER_FOLDER)
    torch.testing.assert_close(velocity(model), before)
    adapters.move_rollout_policy(0.0)
    torch.testing.assert_close(velocity(model), changed)
    adapters.use(None)
    torch.testing.assert_close(velocity(model), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_adapters_come_back_bit_for_bit(base_policy: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    model = transformer().to(dtype)
    adapters = trained(model, base_policy)
    folder = saved(adapters, tmp_path / "policy")
    again = transformer().to(dtype)
    loaded = attach_adapters(again, folder, LoraSettings(rank=7), 99, FAMILY)
    assert loaded.sha256() == adapters.sha256()
    torch.testing.assert_close(velocity(again), velocity(model))


def test_seed_decides_fresh_adapters(base_policy: Path) -> None:
    first, same, other = (
        attach_adapters(transformer(), base_policy, LORA, seed, FAMILY).sha256() for seed in (1, 1, 2)
    )
    assert first == same != other


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_damaged_policy_is_refused_by_name(base_policy: Path, tmp_path: Path, file: str, damage: str) -> None:
    folder = saved(trained(transformer(), base_policy), tmp_path / "policy")
    path = folder / ADAPTER_FOLDER / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.unlink()
    with pytest.raises(PolicyError) as caught:
        attach_adapters(transformer(), folder, LORA, 0, FAMILY)
    assert str(folder / ADAPTER_FOLDER) in str(caught.value)


def test_policy_of_another_model_is_refused(base_policy: Path, tmp_path: Path) -> None:
    folder = saved(trained(transformer(), base_policy), tmp_path / "policy")
    deeper = build_transformer(width=32, layers=3)
    with pytest.raises(PolicyError, match="does not fit"):
        attach_adapters(deeper, folder, LORA, 0, FAMILY)
    wider = build_transformer(width=64, layers=2)
    with pytest.raises(PolicyError, match="does not fit"):
        attach_adapters(wider, folder, LORA, 0, FAMILY)


def test_unknown_target_is_refused_before_training(base_policy: Path) -> None:
    with pytest.raises(PolicyError, match="target"):
        attach_adapters(transformer(), base_policy, LoraSettings(targets=("no_such_layer",)), 0, FAMILY)
