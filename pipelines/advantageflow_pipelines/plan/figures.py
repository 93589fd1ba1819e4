"""Figures that a plan cannot count: what GPUs reach of their peak, and how long tasks take to start; with sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A number, and where it is from.

    Attributes:
        value: a share of the peak that the GPU's maker states, or seconds.
        source: device, versions, date and command of the measurement; or why it is assumed.
        device: that it was measured on, as its maker calls it; None where it is assumed.
    """

    value: float
    source: str
    device: str | None = None

    def __str__(self) -> str:
        return f"{'assumed' if self.device is None else 'measured'}: {self.source}"


_H200 = "NVIDIA H200 SXM"
_MEASURED = f"{_H200}, 16 cores, torch 2.11, commit 7f1df77, November 2026, SD3.5-Medium's true size, random weights"

TRAINING = Figure(
    0.128, f"{_MEASURED}: `advantageflow bench --device cuda`, 24.0 samples/s, blocks not compiled", _H200
)
SAMPLING = Figure(
    0.188, f"{_MEASURED}: `advantageflow bench --device cuda`, 7.4 images/s of 10 evaluations, not compiled", _H200
)
START = Figure(
    30.0, f"{_MEASURED}: `advantageflow run`, a rollout task of 37 s with 6.5 s of work; weights on a local disk", _H200
)
REWARDS = Figure(0.05, "small networks, in float32, on batches of a few images that the CPU prepares")
