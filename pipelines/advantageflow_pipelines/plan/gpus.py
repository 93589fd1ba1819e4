"""GPUs by name: memory, and the peak that their makers state for dense bfloat16 matrix products."""

from __future__ import annotations

from dataclasses import dataclass

from advantageflow.errors import SettingsError
from advantageflow.suggestions import suggest


@dataclass(frozen=True)
class Gpu:
    """A GPU as its data sheet has it.

    Attributes:
        title: what it is called.
        memory: bytes, decimal gigabytes of the data sheet; a card has a little more than that, or less with ECC.
        peak: dense bfloat16 operations a second with float32 accumulation, without sparsity.
        source: of the two figures.
    """

    title: str
    memory: int
    peak: float
    source: str


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

    Raises:
        SettingsError: it is unknown; says which is nearest.
    """
    key = name.lower()
    if key not in GPUS:
        raise SettingsError(f"unknown GPU '{name}'", where="--gpu", remedy=suggest(key, GPUS, what="GPUs"))
    return GPUS[key]
