"""Adapters of other programs: each layout is read as the change of weights that it means, what cannot be is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from advantageflow.errors import PolicyError
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.foreign import Foreign, find_adapter, linear_layers, read_foreign
from advantageflow.policy.loading import load_family, load_transformer
from advantageflow.policy.saved import write_peft
from advantageflow.settings import ModelSettings
from advantageflow.shapes.architecture import build_pipeline

Deltas = Mapping[str, Tensor]
RANK, ALPHA = 4, 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    build_pipeline().save_pretrained(folder)
    return ModelSettings(name=str(folder))


@pytest.fixture(scope="module")
def matrices(model: ModelSettings) -> dict[str, tuple[Tensor, Tensor]]:
    """down and up of every layer that the family trains."""
    generator = torch.Generator().manual_seed(0)
    layers = linear_layers(model, StableDiffusion3())
    wanted = [name for name in layers if name.endswith(StableDiffusion3().lora_targets)]
    return {
        name: (
            torch.randn(RANK, layers[name][1], generator=generator),
            torch.randn(layers[name][0], RANK, generator=generator),
        )
        for name in wanted
    }


def meant(matrices: Mapping[str, tuple[Tensor, Tensor]], scale: float = ALPHA / RANK) -> Deltas:
    return {name: scale * (up @ down) for name, (down, up) in matrices.items()}


def read(path: Path, model: ModelSettings) -> Foreign:
    file = find_adapter(path)
    assert file is not None
    return read_foreign(file, model)


def deltas(adapter: Foreign) -> Deltas:
    scale, tensors = adapter.lora.alpha / adapter.lora.rank, adapter.tensors
    names = {name.rpartition(".lora_")[0] for name in tensors}
    return {name: scale * (tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]) for name in names}


def same(found: Deltas, expected: Deltas) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)


def test_pefts_folder_is_read_also_where_flow_grpo_puts_it(
    model: ModelSettings, matrices: dict[str, tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(matrices), base_model_name_or_path="sd/3.5")
    peft = get_peft_model(load_transformer(model), config)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if ".lora_" in name:
                layer = name.removeprefix("base_model.model.").rpartition(".lora_")[0]
                parameter.copy_(matrices[layer][0 if "lora_A" in name else 1])
    peft.save_pretrained(str(tmp_path / "checkpoint-60" / "lora"))
    adapter = read(tmp_path / "checkpoint-60", model)
    same(deltas(adapter), meant(matrices))
    assert (adapter.layout, adapter.lora.rank, adapter.lora.alpha) == ("PEFT", RANK, ALPHA)
    assert adapter.lora.targets == tuple(sorted(StableDiffusion3().lora_targets))
    assert "PEFT's layout: rank 4, alpha 12" in str(adapter)

    layers = get_peft_model_state_dict(peft)
    layers = {name.removeprefix("base_model.model."): value for name, value in layers.items()}
    told = {"r": RANK, "lora_alpha": ALPHA, "target_modules": sorted(matrices)}
    StableDiffusion3Pipeline.save_lora_weights(
        tmp_path / "theirs", transformer_lora_layers=layers, transformer_lora_adapter_metadata=told
    )
    same(deltas(read(tmp_path / "theirs", model)), meant(matrices))
    StableDiffusion3Pipeline.save_lora_weights(tmp_path / "plain", transformer_lora_layers=layers)
    plain = read(tmp_path / "plain", model)
    assert (plain.layout, plain.lora.alpha) == ("diffusers", RANK)
    same(deltas(plain), meant(matrices, 1.0))


@pytest.mark.parametrize("prefix", ["lora_transformer_", "lora_unet_"])
@pytest.mark.parametrize("alpha", [ALPHA, 0.5])
def test_kohyas_layout_is_read_with_its_alpha(
    model: ModelSettings, matrices: dict[str, tuple[Tensor, Tensor]], tmp_path: Path, prefix: str, alpha: float
) -> None:
    kohya = {}
    for name, (down, up) in matrices.items():
        layer = f"{prefix}{name.replace('.', '_')}"
        kohya |= {
            f"{layer}.lora_down.weight": down,
            f"{layer}.lora_up.weight": up,
            f"{layer}.alpha": torch.tensor(alpha),
        }
    save_file(kohya, tmp_path / "mine.safetensors")
    adapter = read(tmp_path / "mine.safetensors", model)
    same(deltas(adapter), meant(matrices, alpha / RANK))
    assert (adapter.layout, adapter.lora.alpha) == ("kohya", ALPHA if alpha == ALPHA else RANK)


def test_stability_ais_names_and_fused_layers_are_read(
    model: ModelSettings, matrices: dict[str, tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    down, up = matrices["transformer_blocks.0.attn.to_q"]
    other, proj = matrices["transformer_blocks.0.ff_context.net.2"]
    qkv = torch.cat([up, 2 * up, 3 * up])
    block = "lora_unet_joint_blocks_0_"
    tensors = {
        f"{block}x_block_attn_qkv.lora_down.weight": down, f"{block}x_block_attn_qkv.lora_up.weight": qkv,
        f"{block}context_block_mlp_fc2.lora_down.weight": other, f"{block}context_block_mlp_fc2.lora_up.weight": proj,
        f"{block}context_block_mlp_fc2.alpha": torch.tensor(float(ALPHA)),
    }  # fmt: skip
    save_file(tensors, tmp_path / "mine.safetensors")
    q = up @ down
    attention = {f"transformer_blocks.0.attn.to_{name}": factor * q for name, factor in (("q", 1), ("k", 2), ("v", 3))}
    adapter = read(tmp_path, model)
    write_peft(tmp_path / "again", adapter.tensors, adapter.lora, model)
    same(deltas(adapter), attention | {"transformer_blocks.0.ff_context.net.2": ALPHA / RANK * (proj @ other)})
    assert adapter.lora.targets == tuple(sorted(deltas(adapter)))


def test_kohyas_names_of_flux_are_read_as_diffusers_reads_them(dev: ModelSettings, tmp_path: Path) -> None:
    layers = linear_layers(dev, load_family(dev))
    width = layers["transformer_blocks.0.attn.to_q"][1]
    down, up = torch.randn(RANK, width), torch.randn(3 * width, RANK)
    block, first = "lora_unet_double_blocks_0_img_attn_", up[:width].clone()
    tensors = {
        f"{block}qkv.lora_down.weight": down, f"{block}qkv.lora_up.weight": up, f"{block}qkv.alpha": torch.tensor(2.0),
        f"{block}proj.lora_down.weight": down.clone(), f"{block}proj.lora_up.weight": first,
    }  # fmt: skip
    save_file(tensors, tmp_path / "mine.safetensors")
    q, k, v = (0.5 * (part @ down) for part in up.chunk(3))
    expected = {"to_q": q, "to_k": k, "to_v": v, "to_out.0": up[:width] @ down}
    same(deltas(read(tmp_path, dev)), {f"transformer_blocks.0.attn.{name}": one for name, one in expected.items()})


def test_layers_of_several_ranks_become_one_that_changes_nothing_else(
    model: ModelSettings, matrices: dict[str, tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    names = ["transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.to_k"]
    cut = {names[0]: matrices[names[0]], names[1]: (matrices[names[1]][0][:2], matrices[names[1]][1][:, :2])}
    tensors = {}
    for name, (down, up) in cut.items():
        tensors |= {f"transformer.{name}.lora_A.weight": down, f"transformer.{name}.lora_B.weight": up.contiguous()}
    save_file(tensors, tmp_path / "pytorch_lora_weights.safetensors")
    adapter = read(tmp_path, model)
    same(deltas(adapter), meant(cut, 1.0))
    assert {len(value) for name, value in adapter.tensors.items() if "lora_A" in name} == {RANK}
    assert all(value.abs().max() > 0 for value in adapter.tensors.values())


LAYER = "transformer.transformer_blocks.0.attn.to_q"


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({f"{LAYER}.lora_A.weight": (4, 128)}, "lacks one of its two matrices"),
        ({f"{LAYER}.lora_A.weight": (4, 64), f"{LAYER}.lora_B.weight": (128, 4)}, "is 128 x 64, the model's"),
        (
            {"transformer.elsewhere.lora_A.weight": (4, 8), "transformer.elsewhere.lora_B.weight": (8, 4)},
            "no layer 'else",
        ),
        ({f"{LAYER}.lora_magnitude_vector": (4,)}, "is not a part of a LoRA adapter"),
        ({"text_encoder.layer.lora_A.weight": (4, 8)}, "changes a text encoder too"),
        ({"lora_te1_layer.lora_down.weight": (4, 8)}, "changes a text encoder too"),
        ({"lora_unet_input_blocks_1.lora_down.weight": (4, 8)}, "has no layer"),
        ({"base_model.model.x.lora_A.weight": (4, 8)}, "has no layer"),
    ],
)
def test_what_is_not_an_adapter_of_the_model_is_refused(
    model: ModelSettings, tmp_path: Path, tensors: dict[str, tuple[int, ...]], words: str
) -> None:
    save_file({name: torch.ones(shape) for name, shape in tensors.items()}, tmp_path / "mine.safetensors")
    with pytest.raises(PolicyError, match=words) as caught:
        read(tmp_path, model)
    assert caught.value.where == str(tmp_path / "mine.safetensors")


def test_pefts_weights_without_their_alpha_are_refused(model: ModelSettings, tmp_path: Path) -> None:
    name = "base_model.model.transformer_blocks.0.attn.to_q"
    save_file({f"{name}.lora_A.weight": torch.ones(4, 128), f"{name}.lora_B.weight": torch.ones(128, 4)},
              tmp_path / "adapter_model.safetensors")  # fmt: skip
    with pytest.raises(PolicyError, match="alpha is not known"):
        read(tmp_path, model)
    config = {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ["to_q"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert (read(tmp_path, model).lora.rank, read(tmp_path, model).lora.alpha) == (4, 16)


def test_pickles_and_several_files_are_refused_and_an_empty_folder_is_nothing(tmp_path: Path) -> None:
    assert find_adapter(tmp_path) is None
    (tmp_path / "pytorch_lora_weights.bin").touch()
    with pytest.raises(PolicyError, match="pickled"):
        find_adapter(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"x": torch.ones(1)}, tmp_path / name)
    with pytest.raises(PolicyError, match=r"several adapters: a\.safetensors, b"):
        find_adapter(tmp_path)
