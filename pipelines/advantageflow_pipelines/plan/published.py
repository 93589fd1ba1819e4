"""Budgets that were published for the tasks of our presets, in images, and what they cost in runs of a preset."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.work import images_of_a_run


@dataclass(frozen=True)
class Budget:
    """A published training: epochs (or iterations), images generated in each, what it reached, and where it stands."""

    epochs: int
    images: int
    result: str
    source: str

    @property
    def total(self) -> int:
        """Images generated in all."""
        return self.epochs * self.images


_NFT = "DiffusionNFT, arXiv 2509.16117"
_EPOCH = 48 * 24  # groups x rollouts of each
PUBLISHED = {
    "sd35-geneval": Budget(1000, _EPOCH, "GenEval 0.98", _NFT),
    "sd35-ocr": Budget(150, _EPOCH, "OCR accuracy 0.97", _NFT),
    "sd35-pickscore": Budget(2000, _EPOCH, "PickScore 24.03", _NFT),
    "paper-diffusion-nft": Budget(1000, _EPOCH, "GenEval 0.98", _NFT),
    "paper-flow-grpo": Budget(4000, _EPOCH, "GenEval 0.97 without guidance", "Flow-GRPO, arXiv 2505.05470"),
    "sd35-multi": Budget(1700, _EPOCH, "PickScore 23.80, HPSv2.1 0.331", _NFT),
}


def chain(settings: RunSettings, gpu_hours: float | None, artifacts: int) -> dict[str, Any] | None:
    """Runs, images, GPU-hours and bytes of the published budget of these settings' preset; None if there is none.

    Each run continues from the last one's policy, takes `gpu_hours` and keeps `artifacts` bytes.
    """
    budget = PUBLISHED.get(settings.preset)
    if budget is None:
        return None
    runs = math.ceil(budget.total / images_of_a_run(settings))
    return {
        "published": {**asdict(budget), "total": budget.total},
        "runs": runs,
        "images": runs * images_of_a_run(settings),
        "gpu_hours": None if gpu_hours is None else runs * gpu_hours,
        "bytes": runs * artifacts,
    }
