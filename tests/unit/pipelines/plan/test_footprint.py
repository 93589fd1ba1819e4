"""Memory counted without memory: what PyTorch keeps, on the CPU as on the meta device, and what the formula says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.conditioning import Conditioning
from advantageflow.policy.configs import known_configs
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow_pipelines.plan.footprint import Allocations, footprint, fused_kernels, tensor_bytes
from advantageflow_pipelines.plan.skeleton import META, frozen_module

CPU = torch.device("cpu")
WIDTH, LAYERS, DUAL, SIZE, TEXT, RANK, BATCH = 64, 3, 1, 16, 20, 2, 2
ATTENTION = tuple(f"attn.{side}" for side in (
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
))  # fmt: skip
CONFIG: dict[str, Any] = {
    **known_configs("stable-diffusion-3.5-medium", ModelSettings()).arguments("transformer"),
    "sample_size": SIZE, "in_channels": 4, "out_channels": 4, "num_layers": LAYERS, "num_attention_heads": 2,
    "attention_head_dim": WIDTH // 2, "joint_attention_dim": 48, "caption_projection_dim": WIDTH,
    "pooled_projection_dim": 24, "pos_embed_max_size": 8, "dual_attention_layers": tuple(range(DUAL)),
}  # fmt: skip


class Model:
    """A small transformer with a bfloat16 base and float32 adapters, its inputs, and a training sample's forward."""

    def __init__(self, device: torch.device, folder: Any, size: int = SIZE) -> None:
        from diffusers import SD3Transformer2DModel

        self.transformer = frozen_module(lambda: SD3Transformer2DModel(**CONFIG), device, torch.bfloat16)
        write_base_policy(folder, {}, {})
        lora = LoraSettings(rank=RANK, alpha=RANK, targets=ATTENTION)
        with device:
            self.adapters = attach_adapters(self.transformer, folder, lora, 0, StableDiffusion3())
            told = {"prompt_embeds": torch.zeros(BATCH, TEXT, 48), "pooled": torch.zeros(BATCH, 24)}
            self.inputs = (torch.zeros(BATCH, 4, size, size), torch.zeros(BATCH), Conditioning(told))
        given = [*self.inputs[:2], *told.values()]
        self.resident = [*self.transformer.parameters(), *self.transformer.buffers(), *given]

    def forward(self) -> Tensor:
        return StableDiffusion3().velocity(self.transformer, *self.inputs)

    def step(self) -> None:
        torch.autograd.backward(functional.mse_loss(self.forward(), self.inputs[0]))


@pytest.fixture
def make(tmp_path: Any) -> Callable[..., Model]:
    counter = iter(range(9))
    return lambda device=META, size=SIZE: Model(device, tmp_path / f"policy{next(counter)}", size)


def saved_bytes(model: Model) -> int:
    """What autograd is seen to keep for the backward pass, each storage once, without weights and inputs."""
    given = {id(tensor.untyped_storage()) for tensor in model.resident}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in given:
            kept[id(storage)] = storage
        return tensor

    with fused_kernels(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model.forward()
    assert output.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def kept_bytes(compute: Callable[[], object], resident: list[Tensor]) -> int:
    """What is there of a computation when it is done: what it returns, and what autograd keeps of it."""
    with fused_kernels(), Allocations(resident) as allocations:
        result = compute()
        assert result is not None
        return allocations.live


def formula_bytes() -> int:
    """Of the blocks of `CONFIG`; the last one's text stream ends before its output.

    What to expect, for a transformer block of Stable Diffusion 3 with a frozen base in bfloat16 and adapters on the
    attention, computed in bfloat16 too. Frozen linear layers keep nothing. For each token (image and text) and unit of
    width, in bytes:

        norm1's input 2 + the q, k, v adapters' input 2 + inputs of the RMS norms of q and k 2 x 2
        + attention's q, k, v and output 4 x 2 + output adapter's input 2 + norm2's input 2 + GELU's input 4 x 2 = 28

    A dual attention block keeps 12 more for each image token. Fused attention keeps no scores. With recomputed
    activations (gradient checkpointing) a block keeps its input, 2, and one block at a time has all of the above.
    Compiled blocks (model.compile) keep less: their norms are computed again.
    """
    image, text = BATCH * (SIZE // 2) ** 2, BATCH * TEXT
    return WIDTH * (28 * LAYERS * (image + text) + 12 * DUAL * image)


def test_the_peak_is_that_of_tensors_alive_together() -> None:
    a, b = (torch.empty(1000, 256, device=META) for _ in range(2))
    size = 1000 * 256 * 4

    def compute() -> Tensor:
        total = a + b
        total = total.relu()  # both sums are there while it is computed
        return total.view(256, 1000)[:2]  # a view of what is there

    assert (footprint(compute, [a, b]), kept_bytes(compute, [a, b])) == (2 * size, size)
    assert (footprint(lambda: a.t(), [a]), kept_bytes(lambda: a.t(), [a])) == (0, 0)
    assert footprint(lambda: a + b.sum(), [a, b]) == size + 4


@pytest.mark.parametrize("checkpointing", [False, True])
def test_as_much_is_kept_as_autograd_saves(make: Callable[..., Model], checkpointing: bool) -> None:
    """Within 15 %: the count also has the output and rounded adapters."""
    model = make(CPU)
    if checkpointing:
        model.transformer.enable_gradient_checkpointing()
    saved, counted = saved_bytes(model), kept_bytes(model.forward, model.resident)
    assert saved <= counted <= 1.15 * saved + tensor_bytes([model.inputs[0]])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_meta_device_counts_what_the_cpu_allocates(make: Callable[..., Model], checkpointing: bool) -> None:
    models = [make(CPU), make(META)]
    if checkpointing:
        for model in models:
            model.transformer.enable_gradient_checkpointing()
    real, counted = (footprint(model.step, model.resident) for model in models)
    assert counted == pytest.approx(real, rel=0.02)


def test_the_formula_of_a_block_holds(make: Callable[..., Model]) -> None:
    assert saved_bytes(make(META)) == pytest.approx(formula_bytes(), rel=0.2)


def test_attention_keeps_no_scores(make: Callable[..., Model]) -> None:
    """Four times the image tokens keep four times the memory, not sixteen times."""
    small, large = (kept_bytes(model.forward, model.resident) for model in (make(size=8), make(size=16)))
    assert large / small < 4.2


def test_recomputation_takes_less_at_the_peak(make: Callable[..., Model]) -> None:
    kept, recomputed = make(), make()
    recomputed.transformer.enable_gradient_checkpointing()
    assert footprint(recomputed.step, recomputed.resident) < 0.6 * footprint(kept.step, kept.resident)


def test_masked_attention_stays_what_it_is() -> None:
    q = torch.randn(1, 1, 4, 8)
    usual = functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    with fused_kernels():
        assert torch.equal(functional.scaled_dot_product_attention(q, q, q, is_causal=True), usual)
        plain = functional.scaled_dot_product_attention(q, q, q)
    assert torch.allclose(plain, functional.scaled_dot_product_attention(q, q, q), atol=1e-6)


def test_bytes_of_parameters_are_exact() -> None:
    layer = nn.Linear(3, 5).bfloat16()
    assert tensor_bytes(layer.parameters()) == 2 * (3 * 5 + 5)
