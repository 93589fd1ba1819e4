"""Adapters: fresh ones change nothing, saved ones come back, corrupt ones are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft.tuners.lora import Linear
from torch import nn

from advantageflow.errors import PolicyError, SettingsError
from advantageflow.policy.adapters import Adapters, LoraLinear, attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.fingerprint import weights_sha256
from advantageflow.policy.loading import load_transformer
from advantageflow.policy.saved import PEFT_FILE, PEFT_PREFIX, read_policy, tensors_sha256
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.shapes.architecture import build_transformer
from advantageflow.store.files import read_json, read_tensors, write_json, write_tensors
from advantageflow.store.policies import PolicyState

FAMILY = StableDiffusion3()
LORA = LoraSettings(rank=2, alpha=4)


def transformer() -> nn.Module:
    torch.manual_seed(0)
    model = build_transformer(width=32, layers=2)
    return model.requires_grad_(False).eval()


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
    return out


@pytest.fixture
def base_policy(tmp_path: Path) -> Path:
    write_base_policy(tmp_path / "base")
    return tmp_path / "base"


def trained(model: nn.Module, base_policy: Path) -> Adapters:
    adapters = attach_adapters(model, base_policy, LORA, 3, FAMILY)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.add_(0.1)
    return adapters


def saved(adapters: Adapters, folder: Path) -> Path:
    adapters.save(folder, PolicyState(round=0, step=0, policy_sha256=None), None)
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
    loaded = attach_adapters(again, folder, LORA, 99, FAMILY)
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


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (LoraSettings(rank=7, alpha=4), "rank 2; the settings ask for rank 7"),
        (LoraSettings(rank=2, alpha=2), "alpha 4; the settings ask for alpha 2"),
        (LoraSettings(rank=2, alpha=4, targets=("to_q",)), r"ask for targets \[to_q\]"),
    ],
)
def test_a_policy_of_another_shape_than_the_settings_is_refused(
    base_policy: Path, tmp_path: Path, wanted: LoraSettings, words: str
) -> None:
    folder = saved(trained(transformer(), base_policy), tmp_path / "policy")
    with pytest.raises(SettingsError, match=words) as caught:
        attach_adapters(transformer(), folder, wanted, 0, FAMILY)
    assert caught.value.remedy.startswith("set training.lora.")


def test_a_policy_of_another_base_model_is_refused_whatever_that_is_called(base_policy: Path, tmp_path: Path) -> None:
    model, folder = transformer(), tmp_path / "policy"
    adapters = trained(model, base_policy)
    sha256 = weights_sha256(model)
    assert sha256 == weights_sha256(transformer()) == weights_sha256(transformer().bfloat16())
    state = PolicyState(round=1, step=1, policy_sha256=None, base_sha256=sha256, settings={"model": {"name": "first"}})
    adapters.save(folder, state, None)
    attach_adapters(transformer(), folder, LORA, 0, FAMILY, ModelSettings(name="copy of first"))
    other = transformer()
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
    with pytest.raises(PolicyError, match="trained on 'first', and 'first' has other weights"):
        attach_adapters(other, folder, LORA, 0, FAMILY, ModelSettings(name="first"))


def test_the_hash_is_of_the_tensors_and_not_of_how_files_name_them(base_policy: Path, tmp_path: Path) -> None:
    adapters = trained(transformer(), base_policy)
    folder = saved(adapters, tmp_path / "policy")
    file = folder / ADAPTER_FOLDER / PEFT_FILE
    plain = {name.removeprefix(PEFT_PREFIX): value for name, value in read_tensors(file).items()}
    assert read_policy(folder).state.policy_sha256 == adapters.sha256() == tensors_sha256(plain)
    write_tensors(file, plain)  # as older versions did
    assert attach_adapters(transformer(), folder, LORA, 0, FAMILY).sha256() == adapters.sha256()


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "pytorch_lora_weights.safetensors"])
@pytest.mark.parametrize(("value", "words"), [(float("nan"), "adapter_model|not finite"), (3.0, "not those")])
def test_other_weights_than_those_of_the_hash_are_refused(
    base_policy: Path, tmp_path: Path, file: str, value: float, words: str
) -> None:
    folder = saved(trained(transformer(), base_policy), tmp_path / "policy")
    tensors = read_tensors(folder / ADAPTER_FOLDER / file)
    next(iter(tensors.values())).view(-1)[0] = value
    write_tensors(folder / ADAPTER_FOLDER / file, tensors)
    with pytest.raises(PolicyError, match=words) as caught:
        read_policy(folder)
    assert caught.value.where == str(folder / ADAPTER_FOLDER / file)


def test_another_alpha_than_the_states_is_refused(base_policy: Path, tmp_path: Path) -> None:
    folder = saved(trained(transformer(), base_policy), tmp_path / "policy")
    config = folder / ADAPTER_FOLDER / "adapter_config.json"
    write_json(config, read_json(config) | {"lora_alpha": 64})
    with pytest.raises(PolicyError, match="alpha"):
        read_policy(folder)


@pytest.mark.parametrize(("target", "why"), [("absent", "no layer absent"), ("attn", r"attn' is not a linear layer")])
@pytest.mark.parametrize("others", [(), ("attn.to_q",)], ids=["alone", "beside one that is there"])
def test_unknown_target_is_refused_before_training(
    base_policy: Path, target: str, why: str, others: tuple[str, ...]
) -> None:
    with pytest.raises(PolicyError, match=f"(?s)^training.lora.targets: .*{why}.*check training.lora.targets"):
        attach_adapters(transformer(), base_policy, LoraSettings(targets=(*others, target)), 0, FAMILY)


def test_adapters_of_a_bfloat16_base_are_computed_in_its_precision_and_keep_float32_weights(base_policy: Path) -> None:
    inputs = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = transformer().to(dtype)
        adapters = trained(model, base_policy)
        layer = model.transformer_blocks[0].attn.to_q  # type: ignore[union-attr, index]
        output = layer(inputs.to(dtype))  # type: ignore[operator]
        assert output.dtype == dtype
        output.float().square().mean().backward()
        gradients = [value.grad for name, value in adapters.named_parameters().items() if ".0.attn.to_q." in name]
        found[dtype] = [output.detach().float(), *gradients]
        adapters.use(None)
        assert torch.equal(layer(inputs.to(dtype)), layer.base_layer(inputs.to(dtype)))  # type: ignore[operator, union-attr]
    for exact, rounded in zip(*found.values(), strict=True):
        assert rounded is not None
        assert rounded.dtype == torch.float32
        assert 0 < (rounded - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_all_adapters_of_a_bfloat16_base_are_rounded_whenever_it_is_called(
    base_policy: Path, checkpointing: bool
) -> None:
    """Whatever is evaluated between a forward pass and its backward pass; and again after a step."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = transformer().to(dtype)
        adapters = trained(model, base_policy)
        if checkpointing:
            model.enable_gradient_checkpointing()
        outputs = []
        for _ in range(2):
            output = velocity(model)
            with torch.no_grad():
                adapters.use(ROLLOUT_ADAPTER_FOLDER)
                velocity(model)
                adapters.use(ADAPTER_FOLDER)
                velocity(model)
            output.square().mean().backward()
            outputs.append(output.detach())
            for parameter in adapters.parameters():
                parameter.data += 0.1
        gradients = [value.grad for value in adapters.parameters() if value.grad is not None]
        found[dtype] = [*outputs, *gradients]
    exact, rounded = found.values()
    assert len(exact) == len(rounded)
    assert not torch.equal(rounded[0], rounded[1])
    for one, other in zip(exact, rounded, strict=True):
        assert (one - other).norm() <= 0.1 * one.norm(), "beyond what this small a model rounds"


def test_a_loaded_model_says_nothing_that_does_not_matter(
    base_policy: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    model = load_transformer(ModelSettings(dtype="bfloat16"))
    trained(model, base_policy)
    assert caplog.messages == []
    assert [str(one.message) for one in recwarn] == []


@pytest.mark.parametrize("alpha", [2, 3])
def test_a_float32_layer_with_an_adapter_gives_pefts_result_bit_for_bit(base_policy: Path, alpha: int) -> None:
    inputs, found = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0)), []
    for kind in (LoraLinear, Linear):
        model = transformer()
        adapters = attach_adapters(model, base_policy, LoraSettings(rank=2, alpha=alpha), 3, FAMILY)
        for parameter in adapters.parameters():
            parameter.data += 0.1
        layer = model.transformer_blocks[0].attn.to_q  # type: ignore[union-attr, index]
        assert type(layer) is LoraLinear
        layer.__class__ = kind
        output = layer(inputs)
        output.square().mean().backward()
        found.append([output, *(p.grad for p in adapters.parameters() if p.grad is not None)])
    assert len(found[0]) == 3
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_next_rollout_policy_follows_each_step_beside_the_one_in_use(tmp_path: Path) -> None:
    write_base_policy(tmp_path / "base")
    adapters = attach_adapters(transformer(), tmp_path / "base", LORA, 0, FAMILY)
    rollout = adapters.named_parameters(ROLLOUT_ADAPTER_FOLDER).values()
    for value in rollout:
        value.data.zero_()
    for step in (1.0, 2.0, 3.0, 4.0):
        for parameter in adapters.parameters():
            parameter.data.fill_(step)
        adapters.follow(0.9)
        assert not any(value.any() for value in rollout)
    adapters.take_average()
    for value in rollout:
        torch.testing.assert_close(value.data, torch.full_like(value, 0.9049))
