"""Time and memory: tasks run in turn, again and again, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Task:
    """Something to be timed: `run`, which makes so many samples; `prepare` undoes the last run, and is not timed."""

    name: str
    samples: int
    prepare: Callable[[], None]
    run: Callable[[], Any]


@dataclass(frozen=True)
class Measurement:
    """What the runs of a task took."""

    samples: int
    seconds: tuple[float, ...]  # of each repeat, in order
    cpu_seconds: tuple[float, ...]  # that this process used in them, all threads together
    peak_memory: int | None  # bytes allocated on the GPU at most; None on the CPU, which only knows the whole process's
    result: Any  # of the last run

    @property
    def rates(self) -> list[float]:
        """Samples a second of each repeat."""
        return [self.samples / seconds for seconds in self.seconds]

    @property
    def rate(self) -> float:
        """Median of the rates."""
        return statistics.median(self.rates)

    def faster_than(self, other: Measurement) -> list[float]:
        """How many times faster than another task, in each repeat: neighbours in time are compared."""
        return [mine / theirs for mine, theirs in zip(self.rates, other.rates, strict=True)]

    def cheaper_than(self, other: Measurement) -> list[float]:
        """As `faster_than`, by CPU seconds: what else runs on the machine matters less to them."""
        seconds = zip(self.cpu_seconds, other.cpu_seconds, strict=True)
        return [theirs / mine * self.samples / other.samples for mine, theirs in seconds]


def measure(
    tasks: Sequence[Task], repeats: int, device: torch.device, progress: Callable[[str], None] = lambda text: None
) -> list[Measurement]:
    """Run all tasks in turn, `repeats` times after one round of warming up, which is not counted.

    The device's work is waited for, and its memory is watched.
    """
    seconds: list[list[float]] = [[] for _ in tasks]
    cpu: list[list[float]] = [[] for _ in tasks]
    memory: list[int] = [0 for _ in tasks]
    results: list[Any] = [None for _ in tasks]
    for repeat in range(repeats + 1):
        for number, task in enumerate(tasks):
            progress(f"{f'repeat {repeat} of {repeats}' if repeat else 'warming up'}: {task.name}")
            task.prepare()
            _reset_memory(device)
            started, used = time.perf_counter(), time.process_time()
            results[number] = task.run()
            _wait(device)
            if repeat:
                seconds[number].append(time.perf_counter() - started)
                cpu[number].append(time.process_time() - used)
                memory[number] = max(memory[number], _device_memory(device))
    on_gpu = device.type == "cuda"
    return [
        Measurement(task.samples, tuple(taken), tuple(used), peak if on_gpu else None, result)
        for task, taken, used, peak, result in zip(tasks, seconds, cpu, memory, results, strict=True)
    ]


def process_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int, repeats: int = 5) -> float:
    """Floating point operations a second of `size` x `size` matrix products: the fastest of the repeats."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for repeat in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        torch.matmul(a, b)
        _wait(device)
        if repeat:
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_memory(device: torch.device) -> None:
    if device.type == "cuda":
        gc.collect()  # what another task left in reference cycles is not this one's
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)


def _device_memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
