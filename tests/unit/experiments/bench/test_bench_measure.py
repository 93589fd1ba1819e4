"""Measuring: tasks take turns, warming up is not counted, operations are counted as arithmetic has them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from advantageflow_experiments.bench.embedded import Bench
from advantageflow_experiments.bench.measure import Measurement, Task, matmul_peak, measure, process_memory
from advantageflow_pipelines.plan.model_costs import count_flops

CPU = torch.device("cpu")


def test_tasks_take_turns_and_warming_up_is_not_counted() -> None:
    log: list[str] = []
    tasks = [
        Task(name, 3, lambda name=name: log.append(f"prepare {name}"), lambda name=name: log.append(name) or len(log))
        for name in ("a", "b")
    ]
    said: list[str] = []
    a, b = measure(tasks, 2, CPU, said.append)
    assert log == ["prepare a", "a", "prepare b", "b"] * 3
    assert len(a.seconds) == len(b.seconds) == 2
    assert (a.samples, a.result, b.result, a.peak_memory) == (3, 10, 12, None)
    assert said[0] == "warming up: a"
    assert said[-1] == "repeat 2 of 2: b"


def test_rates_are_compared_repeat_by_repeat() -> None:
    slow, fast = (
        Measurement(10, (2.0, 4.0, 1.0), (2.0,) * 3, None, None),
        Measurement(10, (1.0, 1.0, 0.5), (1.0,) * 3, None, None),
    )
    assert slow.rate == 5
    assert fast.faster_than(slow) == [2, 4, 2]
    assert fast.cheaper_than(slow) == [2, 2, 2]


def test_flops_are_those_of_the_layers(bench: Bench) -> None:
    """Counted apart, layer by layer, from the sizes that go through them."""
    transformer = bench.work.policy.transformer
    total = 0.0

    def linear(module: nn.Linear, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        total += 2 * out.numel() * module.in_features

    def convolution(module: nn.Conv2d, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        total += 2 * out.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]

    def attention(module: Attention, _: Any, inputs: dict[str, torch.Tensor], __: Any) -> None:
        nonlocal total
        tokens = inputs["hidden_states"].shape[1]
        context = inputs.get("encoder_hidden_states")
        tokens += 0 if context is None else context.shape[1]
        total += 2 * 2 * tokens**2 * module.inner_dim

    hooks = [module.register_forward_hook(linear) for module in transformer.modules() if type(module) is nn.Linear]
    hooks += [m.register_forward_hook(convolution) for m in transformer.modules() if isinstance(m, nn.Conv2d)]
    hooks += [
        module.register_forward_hook(attention, with_kwargs=True)
        for module in transformer.modules() if isinstance(module, Attention)
    ]  # fmt: skip
    with torch.no_grad():
        bench.work.policy.velocity(bench.work.sample())
    for hook in hooks:
        hook.remove()
    flops = count_flops(bench.work.policy, bench.work.sample())
    assert flops.forward == pytest.approx(total, rel=1e-6)
    assert 1.8 < flops.training / flops.forward < 2.6, "frozen weights need no gradient of their own"
    assert all(value.grad is None for value in bench.work.policy.adapters.parameters())


def test_matrix_products_and_memory_are_in_a_plausible_range() -> None:
    assert 1e8 < matmul_peak(CPU, torch.float32, 128, repeats=2) < 1e14
    assert 5e7 < process_memory() < 1e12
