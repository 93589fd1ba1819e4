"""Compiled blocks compute what eager ones do, in every family, and what they need is asked for by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from advantageflow.errors import PolicyError
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.families.flux import Flux
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.loading import compile_blocks, latent_shape, load_family, load_transformer
from advantageflow.policy.text import encode_prompts
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.shapes.architecture import build_transformer


@pytest.mark.parametrize("name", ["dev", "qwen_image", "z_image"])
def test_the_blocks_of_every_family_compile_whole(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model: ModelSettings = request.getfixturevalue(name)
    family, transformer = load_family(model), load_transformer(model)
    told = encode_prompts(model, ["one", "two"])
    write_base_policy(tmp_path / "policy")
    attach_adapters(transformer, tmp_path / "policy", LoraSettings(rank=2), 0, family)
    x, t = torch.randn(2, *latent_shape(model)), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        eager = family.velocity(transformer, x, t, told)
        compile_blocks(transformer, family, backend="eager")
        torch.testing.assert_close(family.velocity(transformer, x, t, told), eager)


def test_compiled_blocks_equal_eager_ones_within_what_bfloat16_rounds(tmp_path: Path) -> None:
    write_base_policy(tmp_path / "policy")
    told = Conditioning({"prompt_embeds": torch.randn(2, 20, 128), "pooled": torch.randn(2, 128)})
    x, t, family = torch.randn(2, 8, 6, 6), torch.tensor([0.3, 0.8]), StableDiffusion3()

    @torch.no_grad()
    def velocity(dtype: torch.dtype, compiled: bool) -> Tensor:
        torch.manual_seed(0)
        transformer = build_transformer(width=32, layers=1).requires_grad_(False).to(dtype)
        lora = LoraSettings(rank=2, targets=("attn.to_q",))
        attach_adapters(transformer, tmp_path / "policy", lora, 0, family).parameters()[1].add_(0.1)
        if compiled:
            compile_blocks(transformer, family)
        return family.velocity(transformer, x, t, told)

    exact = velocity(torch.float32, compiled=False)
    eager, compiled = (velocity(torch.bfloat16, compiled=one) - exact for one in (False, True))
    assert 0 < compiled.norm() < 1.3 * eager.norm() < 0.1 * exact.norm()
    assert not torch.equal(eager, compiled), "one of them was computed twice"


def test_what_compiling_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = build_transformer(width=32, layers=1)
    with pytest.raises(PolicyError, match="names no blocks that SD3Transformer2DModel has"):
        compile_blocks(transformer, Flux(guidance=3.5))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(PolicyError, match=r"no C compiler \(no-such-compiler\)[\s\S]*model.compile to false"):
        compile_blocks(transformer, StableDiffusion3())
