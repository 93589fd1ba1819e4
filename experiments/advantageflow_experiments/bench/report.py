"""The benchmark's results: numbers as JSON, and a chart."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from advantageflow.store.files import write_json, writing
from advantageflow.tracking.provenance import provenance
from advantageflow_experiments.bench.chart import draw_chart
from advantageflow_experiments.bench.embedded import Bench
from advantageflow_experiments.bench.measure import Measurement, process_memory
from advantageflow_experiments.bench.peers import peer_batch
from advantageflow_pipelines.plan.counts import Flops

JSON_FILE, CHART_FILE = "bench.json", "bench.png"


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        rollouts: making the round's rollouts.
        trainings: of each rung by name, the yardstick first.
        best_peer: of the fairer yardstick.
        flops: of the model.
        matmul_peak: the device's, floating point operations a second.
    """

    rollouts: Measurement
    trainings: dict[str, Measurement]
    best_peer: Measurement
    flops: Flops
    matmul_peak: float


def make_report(preset: str, bench: Bench, results: Results, choices: Mapping[str, Any]) -> dict[str, Any]:
    """What is written and shown.

    Args:
        preset: its name.
        bench: what was measured.
        results: what came out.
        choices: device, repeats, threads, seed, checkpointing.
    """
    training = bench.work.settings
    rows, ours = [_row(name, results) for name in results.trainings], list(results.trainings.values())[-1]
    return {
        "preset": preset,
        **choices,
        "shape": bench.shape,
        "round": {
            "rollouts": bench.work.rollouts,
            "inner_epochs": training.inner_epochs,
            "gradient_steps": training.gradient_steps,
            "microbatch": training.microbatch,
            "peer_batch": peer_batch(training),
            "objective": training.objective.model_dump(mode="json"),
        },
        "rollouts_per_second": _spread(results.rollouts.rates),
        "rows": rows,
        "speedup": rows[-1]["speedup"],
        "best_peer": {
            "samples_per_second": _spread(results.best_peer.rates),
            "speedup": _spread(ours.faster_than(results.best_peer)),
        },
        "largest_loss_difference": _loss_difference([*results.trainings.values(), results.best_peer]),
        "flops": {**asdict(results.flops), "matmul_peak": results.matmul_peak},
        "peak_memory": {"process_resident": process_memory(), "gpu_rollouts": results.rollouts.peak_memory},
        "gpu": _gpu(str(choices["device"])),
        "machine": {"processor": platform.processor() or platform.machine(), **provenance()},
    }


def write_report(report: Mapping[str, Any], out: Path) -> None:
    """Write bench.json and bench.png into a folder; earlier ones are replaced.

    Raises:
        StoreError: it cannot be written.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / JSON_FILE, report)
    draw_chart(report, out / CHART_FILE)


def _row(name: str, results: Results) -> dict[str, Any]:
    names = list(results.trainings)
    mine, yardstick = results.trainings[name], results.trainings[names[0]]
    before = results.trainings[names[max(0, names.index(name) - 1)]]
    useful = mine.rate * results.flops.training
    return {
        "name": name,
        "samples_per_second": _spread(mine.rates),
        "seconds": list(mine.seconds),
        "gain": _spread(mine.faster_than(before)),
        "speedup": _spread(mine.faster_than(yardstick)),
        "model_flops_per_second": useful,
        "share_of_matmul_peak": useful / results.matmul_peak,
        "peak_memory": mine.peak_memory,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def _loss_difference(trainings: Sequence[Measurement]) -> float:
    """Largest difference of a row's losses from the yardstick's, relative to the largest loss: do all do the same?"""
    losses = [[step["loss"] for step in one.result] for one in trainings]  # type: ignore[attr-defined]
    scale = max(abs(loss) for loss in losses[0])
    return max(abs(a - b) for row in losses for a, b in zip(row, losses[0], strict=True)) / scale


def _gpu(device: str) -> dict[str, Any]:
    """Which GPU was measured, or that none was and why."""
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        return {"ran": True, "name": properties.name, "memory": properties.total_memory}
    there = torch.cuda.is_available()
    why = "it was not asked for (--device cuda)" if there else "torch sees no GPU"
    return {"ran": False, "why": why}
