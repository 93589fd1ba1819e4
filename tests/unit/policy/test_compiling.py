"""Compiled blocks compute what eager ones do, in every family, and what they need is asked for by name."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._inductor.cpp_builder import CppBuilder, CppOptions
from torch._inductor.exc import CppCompileError

from advantageflow.errors import PolicyError
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.compiler_cache import use_compiler_cache
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
    torch.manual_seed(2)
    told = Conditioning({"prompt_embeds": torch.randn(2, 20, 128), "pooled": torch.randn(2, 128)})
    inputs, t, family = torch.randn(16, 2, 8, 6, 6), torch.tensor([0.3, 0.8]), StableDiffusion3()

    def computed(dtype: torch.dtype, compiled: bool) -> tuple[Tensor, Tensor]:
        """For every input the velocity, and the gradient of its size with respect to the adapter's A."""
        torch.manual_seed(0)
        transformer = build_transformer(width=32, layers=1).requires_grad_(False).to(dtype)
        lora = LoraSettings(rank=2, targets=("attn.to_q", "attn.to_k"))
        down, up, *_ = attach_adapters(transformer, tmp_path / "policy", lora, 0, family).parameters()
        up.data.add_(0.1)
        if compiled:
            compile_blocks(transformer, family)
        velocities = [family.velocity(transformer, x, t, told) for x in inputs]
        gradients = [torch.autograd.grad(velocity.square().mean(), down)[0] for velocity in velocities]
        return torch.stack(velocities).detach(), torch.stack(gradients)

    exact, eager, compiled = (
        computed(*one) for one in ((torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True))
    )
    for right, usual, faster in zip(exact, eager, compiled, strict=True):
        assert 0 < (faster - right).norm() < 1.3 * (usual - right).norm() < 0.1 * right.norm()
    assert not torch.equal(eager[0], compiled[0]), "one of them was computed twice"


def test_what_compiling_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = build_transformer(width=32, layers=1)
    with pytest.raises(PolicyError, match="names no blocks that SD3Transformer2DModel has"):
        compile_blocks(transformer, Flux(guidance=3.5))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(PolicyError, match=r"no C compiler \(no-such-compiler\)[\s\S]*model.compile to false"):
        compile_blocks(transformer, StableDiffusion3())


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_compiled_halfway_when_a_process_was_killed_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """The compiler here writes a part of the library and ends; torch takes any file of the name for a library."""
    folder, compiler = tmp_path / "cache", tmp_path / "cxx"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; printf ELF > "$2"; exit 1\n')
    compiler.chmod(0o755)
    (folder / "ab").mkdir(parents=True)
    for name in ("whole.main.cpp", "whole.main.so", "cut.main.cpp"):
        (folder / "ab" / name).write_text("int x;")
    options = CppOptions(compiler=str(compiler))
    with pytest.raises(CppCompileError):
        CppBuilder("cut.main", str(folder / "ab" / "cut.main.cpp"), options, str(folder / "ab")).build()
    assert (folder / "ab" / "cut.main.so").exists(), "as torch leaves it"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    with (folder / "in-use").open("w") as other:
        if not alone:
            fcntl.flock(other, fcntl.LOCK_SH)
        use_compiler_cache()
    left = {file.name for file in (folder / "ab").iterdir()}
    unfinished = {"cut.main.cpp", "cut.main.so", "cut.main_CxxBuild"}
    assert left == {"whole.main.cpp", "whole.main.so"} | (set() if alone else unfinished)
