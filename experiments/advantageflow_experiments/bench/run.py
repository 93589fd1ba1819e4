"""The benchmark from beginning to end: set up, measure in turn, report."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_experiments.bench.embedded import Bench, embedded_bench
from advantageflow_experiments.bench.measure import Task, matmul_peak, measure
from advantageflow_experiments.bench.peers import BEST_PEER, COMPILED, EAGER, best_peer, make_ladder
from advantageflow_experiments.bench.report import Results, make_report, write_report
from advantageflow_experiments.bench.workload import CompiledBlocks, channels_last
from advantageflow_pipelines.plan.model_costs import count_flops

Device = Literal["cpu", "cuda"]
_MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}


def run_bench(
    settings: RunSettings,
    *,
    device: Device = "cpu",
    repeats: int = 5,
    threads: int = 2,
    seed: int = 0,
    checkpointing: bool = False,
    compiled: bool = False,
    out: Path,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure rollouts and training samples a second, and what each saving over the peers' loop contributes.

    Args:
        settings: the preset; on the CPU its model, prompts, sampling and training are measured. On the GPU the model is
            SD3.5-Medium's shape with random weights, with its published recipe's sizes.
        repeats: of everything, in turn, after one round of warming up.
        seed: of weights, draws and noise.
        checkpointing: recompute activations in the backward pass (GPU only).
        compiled: whether blocks are compiled on the CPU too, as with model.compile.
        out: folder for bench.json and bench.png.
        progress: told what is going on.

    Returns:
        What bench.json holds.

    Raises:
        SettingsError: CUDA is asked for and there is none, or the model does not fit into its memory.
        PolicyError: the preset's model cannot be loaded.
        StoreError: the report cannot be written.
    """
    check_choice(device, checkpointing)
    torch.set_num_threads(threads)
    progress("setting up")
    try:
        if device == "cpu":
            bench = embedded_bench(settings, threads, seed)
        else:
            from advantageflow_experiments.bench.true_shape import SD35_MEDIUM, true_shape_bench

            bench = true_shape_bench(SD35_MEDIUM, torch.device(device), seed)
        compiled = compiled or device == "cuda"
        results = measure_bench(bench, repeats, _MATMUL_SIZE[device], checkpointing, compiled, progress)
    except torch.OutOfMemoryError as error:
        message = f"the GPU's memory is not enough: {str(error).splitlines()[0]}"
        remedy = "use --checkpointing, a larger GPU, or end what else runs on it"
        raise SettingsError(message, where=f"--device {device}", remedy=remedy) from error
    choices = {"device": device, "repeats": repeats, "threads": threads, "seed": seed, "checkpointing": checkpointing}
    report = make_report(settings.preset, bench, results, choices)
    write_report(report, out)
    return report


def check_choice(device: Device, checkpointing: bool = False) -> None:
    """Raises SettingsError where the device is not there: never a silent run on another."""
    if device == "cuda" and not torch.cuda.is_available():
        remedy = "run it where there is a GPU and a CUDA build of torch, or leave --device away to measure the CPU"
        raise SettingsError("torch sees no GPU, so nothing was measured", where="--device cuda", remedy=remedy)
    if checkpointing and device == "cpu":
        remedy = "add --device cuda, or leave it away"
        raise SettingsError("is for the GPU's memory", where="--checkpointing", remedy=remedy)


def measure_bench(
    bench: Bench,
    repeats: int,
    matmul_size: int,
    checkpointing: bool = False,
    compiled: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Results:
    """Measure rollouts and every row in turn, and the device's peak by products of matrices of `matmul_size`."""
    device = bench.work.device
    counted = bench.low_precision or bench.work
    flops = count_flops(counted.policy, counted.sample())  # before activations are recomputed, which would count twice
    if checkpointing:
        for work in filter(None, (bench.work, bench.low_precision)):
            work.policy.transformer.enable_gradient_checkpointing()  # type: ignore[operator]
    family = counted.policy.family
    blocks = CompiledBlocks(counted.policy.transformer, family) if compiled else None
    drawing = CompiledBlocks(bench.drawing, family) if compiled else None

    def generate() -> object:
        with drawing or contextlib.nullcontext(), channels_last(bench.vae):
            return bench.generate()

    def rollouts(name: str, generate: Callable[[], object]) -> Task:
        return Task(f"rollouts, {name}", bench.work.rollouts, lambda: None, generate)

    drawn = [rollouts(BEST_PEER, bench.peer_generate), rollouts(EAGER, bench.generate)]
    drawn += [rollouts(COMPILED, generate)] if compiled else []
    ladder = make_ladder(bench.work, bench.low_precision, blocks)
    measured = measure([*drawn, *ladder, best_peer(counted)], repeats, device, progress)
    named = {task.name: one for task, one in zip([*drawn, *ladder], measured, strict=False)}
    progress("matrix products")
    dtype = torch.bfloat16 if bench.low_precision else torch.float32
    peak = matmul_peak(device, dtype, matmul_size)
    made, trained = ({task.name: named[task.name] for task in tasks} for tasks in (drawn, ladder))
    return Results(made, trained, measured[-1], flops, peak)
