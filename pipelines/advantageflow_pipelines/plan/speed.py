"""From operations to hours: GPUs as their makers state them, and what is measured or assumed of what they reach."""

from dataclasses import dataclass

from advantageflow.errors import SettingsError
from advantageflow.suggestions import suggest


@dataclass(frozen=True)
class Figure:
    """A number, and where it is from."""

    value: float  # a share of the peak that the GPU's maker states, or seconds
    source: str  # device, versions, date and command of the measurement; or why it is assumed
    device: str | None = None  # that it was measured on, as its maker calls it; None where it is assumed

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


@dataclass(frozen=True)
class Gpu:
    """A GPU as its data sheet has it."""

    title: str
    memory: int  # bytes, decimal gigabytes of the data sheet; a card has a little more than that, or less with ECC
    peak: float  # dense bfloat16 operations a second with float32 accumulation, without sparsity
    source: str  # of the two figures


_GIGA, _TERA = 10**9, 1e12
GPUS = {
    "b200": Gpu("NVIDIA B200", 180 * _GIGA, 2250 * _TERA, "NVIDIA HGX B200 data sheet (half of the sparse figure)"),
    "h200": Gpu("NVIDIA H200 SXM", 141 * _GIGA, 989.5 * _TERA, "NVIDIA H200 data sheet (half of the sparse figure)"),
    "h100": Gpu("NVIDIA H100 SXM", 80 * _GIGA, 989.5 * _TERA, "NVIDIA H100 data sheet (half of the sparse figure)"),
    "a100-80": Gpu("NVIDIA A100 80 GB", 80 * _GIGA, 312 * _TERA, "NVIDIA A100 data sheet"),
    "a100-40": Gpu("NVIDIA A100 40 GB", 40 * _GIGA, 312 * _TERA, "NVIDIA A100 data sheet"),
    "l40s": Gpu("NVIDIA L40S", 48 * _GIGA, 362.05 * _TERA, "NVIDIA L40S data sheet"),
    "l4": Gpu("NVIDIA L4", 24 * _GIGA, 121 * _TERA, "NVIDIA L4 data sheet (half of the sparse figure)"),
    "rtx4090": Gpu("NVIDIA GeForce RTX 4090", 24 * _GIGA, 165.2 * _TERA, "NVIDIA Ada architecture white paper"),
    "rtx3090": Gpu("NVIDIA GeForce RTX 3090", 24 * _GIGA, 71 * _TERA, "NVIDIA GA102 architecture white paper"),
}
DEFAULT_GPU = "h100"


def find_gpu(name: str) -> Gpu:
    """The GPU of this name.
    Raises SettingsError: it is unknown; says which is nearest.
    """
    key = name.lower()
    if key not in GPUS:
        raise SettingsError(f"unknown GPU '{name}'", where="--gpu", remedy=suggest(key, GPUS, what="GPUs"))
    return GPUS[key]


@dataclass(frozen=True)
class Speed:
    """GPUs, and what part of their peak is reached."""

    gpu: Gpu  # of this kind
    count: int = 1  # how many
    utilisation: float | None = None  # of the peak, by the model; None: what was measured of training and of sampling
    known: bool = True  # whether the peak is that of the model's precision; without it there are no hours

    def hours(self, sampling: float, training: float, rewards: float, tasks: int) -> float:
        """GPU-hours of operations without and with gradient and of rewards, and of starting so many tasks."""
        shares = (self.utilisation or SAMPLING.value, self.utilisation or TRAINING.value, REWARDS.value)
        computing = sum(flops / share for flops, share in zip((sampling, training, rewards), shares, strict=True))
        return (computing / self.gpu.peak + tasks * START.value) / 3600

    def assumptions(self) -> list[str]:
        """What the hours rest on."""
        if not self.known:
            return ["no time: only bfloat16's peak is listed, and the model computes in another precision"]
        gpu = self.gpu
        peak = f"{gpu.title}'s {gpu.peak / 1e12:g} TFLOP/s in dense bfloat16 (peak and memory: {gpu.source})"
        if self.utilisation is not None:
            reached = [f"of {peak} the model is taken to reach {self.utilisation:.0%}: assumed (--utilisation)"]
        else:
            other = "" if gpu.title == TRAINING.device else f", and assumed of {gpu.title}"
            reached = [
                f"of {peak} training reaches {TRAINING.value:.1%}, {TRAINING}{other}",
                f"sampling, decoding and encoding {SAMPLING.value:.1%}, {SAMPLING}{other}",
            ]
        return [
            *reached,
            f"rewards reach {REWARDS.value:.0%}, {REWARDS}",
            f"a task takes {START.value:.0f} s to start and to load its model, {START}; on a cluster, pods, images and "
            "artifacts take more, which is left out",
            "rollout and reward shards share the GPUs, each process that trains has one; evaluations are done beside "
            "the next round, where a GPU is free",
        ]
