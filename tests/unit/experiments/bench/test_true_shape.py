"""The GPU's workload, its logic run on the CPU: the shape is the published one, and every row trains at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from advantageflow_experiments.bench.embedded import Bench
from advantageflow_experiments.bench.peers import BFLOAT16, FOLDED
from advantageflow_experiments.bench.report import make_report
from advantageflow_experiments.bench.run import measure_bench
from advantageflow_experiments.bench.true_shape import SD35_MEDIUM
from advantageflow_experiments.bench.workload import CompiledBlocks, base_parameters


def test_sd35_medium_has_its_published_sizes() -> None:
    configs = SD35_MEDIUM.configs
    with torch.device("meta"):
        transformer, *encoders = (configs.make(part) for part in ("transformer", *configs.text_encoders))
    assert 2.2e9 < base_parameters(transformer) < 2.3e9
    sizes = [sum(value.numel() for value in encoder.parameters()) for encoder in encoders]
    assert [round(size / 1e6) for size in sizes] == [124, 695, 4762]


def test_shapes_and_precisions_are_those_of_the_recipe(bench: Bench) -> None:
    data = bench.work.data
    assert data.latents.shape == (8, 4, 6, 6)
    shapes = {name: tuple(tensor.shape) for name, tensor in data.conditioning.tensors.items()}
    assert shapes == {"prompt_embeds": (2, 5 + 7, 48), "pooled": (2, 24)}
    assert bench.low_precision is not None
    dtypes = [next(work.policy.transformer.parameters()).dtype for work in (bench.work, bench.low_precision)]
    assert dtypes == [torch.float32, torch.bfloat16]
    assert {p.dtype for p in bench.low_precision.policy.adapters.parameters()} == {torch.float32}
    assert (bench.work.autocast, bench.low_precision.autocast) == (True, False)


def test_both_precisions_have_the_same_weights(bench: Bench) -> None:
    assert bench.low_precision is not None
    full, low = bench.work.policy.transformer.state_dict(), bench.low_precision.policy.transformer.state_dict()
    assert all(torch.allclose(value, low[name].float(), rtol=0.01, atol=1e-3) for name, value in full.items())


def test_the_text_encoders_run_on_each_rollout_and_repeat(bench: Bench) -> None:
    told = bench.work.encode(torch.tensor([1, 1, 0])).tensors
    embeds, pooled = told["prompt_embeds"], told["pooled"]
    assert embeds.shape == (3, 12, 48)
    assert torch.equal(embeds[0], embeds[1])
    assert not torch.allclose(embeds[0], embeds[2])
    assert torch.allclose(pooled[2], bench.work.data.conditioning.tensors["pooled"][0], atol=1e-2)


def test_every_row_trains_with_and_without_recomputed_activations(bench: Bench) -> None:
    losses = []
    for checkpointing in (False, True):
        results = measure_bench(bench, 1, 64, checkpointing)
        losses.append([[step["loss"] for step in one.result] for one in results.trainings.values()])
        assert list(results.trainings)[-2:] == [FOLDED, BFLOAT16]
    for kept, recomputed in zip(*losses, strict=True):
        assert torch.allclose(torch.tensor(kept), torch.tensor(recomputed), rtol=1e-3, atol=1e-4)
    choices = {"device": "cpu", "repeats": 1, "threads": 1, "seed": 0, "checkpointing": True}
    report = make_report("shapes", bench, results, choices)
    assert report["largest_loss_difference"] < 0.05, "bfloat16 rounds"
    assert report["rows"][-1]["share_of_matmul_peak"] > 0


def test_blocks_are_compiled_within_the_context_alone(bench: Bench) -> None:
    ran: list[bool] = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        return lambda *inputs: ran.append(True) or graph(*inputs)

    work = bench.work
    compiled, before = (
        CompiledBlocks(work.policy.transformer, work.policy.family, backend),
        work.policy.velocity(work.sample()),
    )
    assert not ran
    with torch.no_grad(), compiled:
        torch.testing.assert_close(work.policy.velocity(work.sample()), before)
    assert len(ran) == 2, "a run for each block"
    with torch.no_grad():
        work.policy.velocity(work.sample())
    assert len(ran) == 2
