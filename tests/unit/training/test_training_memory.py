"""What saves memory changes no result: gradient checkpointing, and a bfloat16 base under float32 adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from advantageflow.policy.conditioning import Conditioning
from advantageflow.settings import ModelSettings, TrainingSettings
from advantageflow.training.policy import Inputs, Policy
from advantageflow.training.train import load_policy


def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(1)
    x_t, embeds = torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 3, 32, generator=generator)
    told = Conditioning({"prompt_embeds": embeds, "pooled": torch.randn(2, 16, generator=generator)})
    return x_t, torch.tensor([0.2, 0.9]), told


def gradients(policy: Policy) -> dict[str, Tensor]:
    """Of a loss through an adapter that is no longer the fresh one."""
    generator = torch.Generator().manual_seed(2)
    for parameter in policy.adapters.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    target = policy.rollout_velocity(inputs()) + policy.reference_velocity(inputs())  # other adapters run in between
    (policy.velocity(inputs()) - target).square().mean().backward()
    found = {name: parameter.grad for name, parameter in policy.adapters.named_parameters().items()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_equal_with_and_without_checkpointing(
    model: ModelSettings, settings: TrainingSettings, maker: Any, dtype: str
) -> None:
    folder: Path = maker.make().policy
    model = model.model_copy(update={"dtype": dtype})
    found, kept = [], []
    for checkpointing in (False, True):
        policy = load_policy(settings.model_copy(update={"gradient_checkpointing": checkpointing}), model, 0, folder)
        block: Any = policy.transformer.transformer_blocks[0]  # type: ignore[index]
        calls: list[bool] = []
        block.register_forward_pre_hook(lambda *_, calls=calls: calls.append(torch.is_grad_enabled()))
        found.append(gradients(policy))
        kept.append(calls.count(True))
    assert kept == [1, 2]  # computed again in the backward pass
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) == len(policy.adapters.parameters())
    assert all(torch.equal(gradient, found[1][name]) for name, gradient in found[0].items())


def test_a_bfloat16_base_is_frozen_and_its_adapters_and_gradients_are_float32(
    model: ModelSettings, settings: TrainingSettings, maker: Any
) -> None:
    policy = load_policy(settings, model.model_copy(update={"dtype": "bfloat16"}), 0, maker.make().policy)
    own = {id(parameter) for name in ("policy", "rollout_policy") for parameter in _parameters(policy, name)}
    base = [parameter for parameter in policy.transformer.parameters() if id(parameter) not in own]
    assert {parameter.dtype for parameter in base} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in base)
    assert {parameter.dtype for name in ("policy", "rollout_policy") for parameter in _parameters(policy, name)} == {
        torch.float32
    }
    assert {gradient.dtype for gradient in gradients(policy).values()} == {torch.float32}
    assert policy.velocity(inputs()).dtype == torch.float32


def _parameters(policy: Policy, adapter: str) -> list[torch.nn.Parameter]:
    return list(policy.adapters.named_parameters(adapter).values())
