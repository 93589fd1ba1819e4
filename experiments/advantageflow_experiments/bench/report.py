"""The benchmark's results: numbers as JSON, and a chart."""

import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from advantageflow.store.files import write_json, writing
from advantageflow.tracking.provenance import provenance
from advantageflow_experiments.bench.embedded import Bench
from advantageflow_experiments.bench.measure import Measurement, process_memory
from advantageflow_experiments.bench.peers import peer_batch
from advantageflow_experiments.compare.style import GREY, INK, picture
from advantageflow_pipelines.plan.model_costs import Flops

JSON_FILE, CHART_FILE = "bench.json", "bench.png"


@dataclass(frozen=True)
class Results:
    """What was measured: rollouts by row (the best open peer's first), trainings by row (the yardstick first), and the
    fairer yardstick; the model's operations, and the peak of the device's, a second.
    """

    rollouts: dict[str, Measurement]
    trainings: dict[str, Measurement]
    best_peer: Measurement
    flops: Flops
    matmul_peak: float


def make_report(preset: str, bench: Bench, results: Results, choices: Mapping[str, Any]) -> dict[str, Any]:
    """What is written and shown; `choices` are device, repeats, threads, seed, checkpointing."""
    training = bench.work.settings
    rows, ours = [_row(name, results) for name in results.trainings], list(results.trainings.values())[-1]
    peer, *_, drawn = results.rollouts.values()
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
        "rollouts_per_second": _spread(drawn.rates),
        "rollouts": [_drawn(name, one, peer) for name, one in results.rollouts.items()],
        "rows": rows,
        "speedup": rows[-1]["speedup"],
        "best_peer": {
            "samples_per_second": _spread(results.best_peer.rates),
            "speedup": _spread(ours.faster_than(results.best_peer)),
            "speedup_by_cpu": _spread(ours.cheaper_than(results.best_peer)),
        },
        "largest_loss_difference": _loss_difference([*results.trainings.values(), results.best_peer]),
        "flops": {**asdict(results.flops), "matmul_peak": results.matmul_peak},
        "peak_memory": {"process_resident": process_memory(), "gpu_rollouts": drawn.peak_memory},
        "gpu": _gpu(str(choices["device"])),
        "machine": {"processor": platform.processor() or platform.machine(), **provenance()},
    }


def write_report(report: Mapping[str, Any], out: Path) -> None:
    """Write bench.json and bench.png into a folder; earlier ones are replaced.
    Raises StoreError: it cannot be written.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / JSON_FILE, report)
    _draw_chart(report, out / CHART_FILE)


def _row(name: str, results: Results) -> dict[str, Any]:
    names = list(results.trainings)
    mine, yardstick = results.trainings[name], results.trainings[names[0]]
    before = results.trainings[names[max(0, names.index(name) - 1)]]
    useful = mine.rate * results.flops.training
    return {
        "name": name,
        "samples_per_second": _spread(mine.rates),
        "seconds": list(mine.seconds),
        "cpu_seconds": list(mine.cpu_seconds),
        "gain": _spread(mine.faster_than(before)),
        "speedup": _spread(mine.faster_than(yardstick)),
        "model_flops_per_second": useful,
        "share_of_matmul_peak": useful / results.matmul_peak,
        "peak_memory": mine.peak_memory,
    }


def _drawn(name: str, mine: Measurement, peer: Measurement) -> dict[str, Any]:
    return {
        "name": name,
        "images_per_second": _spread(mine.rates),
        "cpu_seconds": list(mine.cpu_seconds),
        "speedup": _spread(mine.faster_than(peer)),
        "speedup_by_cpu": _spread(mine.cheaper_than(peer)),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def _loss_difference(trainings: Sequence[Measurement]) -> float:
    """Largest difference of a row's losses from the yardstick's, relative to the largest loss: do all do the same?"""
    losses = [[step["loss"] for step in one.result] for one in trainings]
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


def _draw_chart(report: Mapping[str, Any], out: Path) -> None:
    """Draw the rows as horizontal bars, first row on top, with the range over the repeats.
    Raises StoreError: the file cannot be written.
    """
    rows = report["rows"]
    rates = [row["samples_per_second"] for row in rows]
    middle = [rate["median"] for rate in rates]
    below = [rate["median"] - rate["lowest"] for rate in rates]
    above = [rate["highest"] - rate["median"] for rate in rates]
    names = [row["name"] if number == 0 else f"+ {row['name']}" for number, row in enumerate(rows)]
    with picture(out, 9, 0.55 * len(rows) + 1.4) as figure:
        axes = figure.subplots()
        colours = [GREY, *["C0"] * (len(rows) - 1)]
        axes.barh(names, middle, xerr=[below, above], color=colours, ecolor=INK, capsize=3, height=0.65)
        for number, row in enumerate(rows):
            end = middle[number] + above[number]
            times = f"{row['speedup']['median']:.2f} x"
            axes.annotate(times, (end, number), (6, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("training samples a second (median and range)")
        axes.set_title(f"{report['shape']['model']}, {report['device']}, {report['threads']} threads", loc="left")
