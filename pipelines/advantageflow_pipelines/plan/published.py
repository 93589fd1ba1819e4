"""Budgets that were published for the tasks of our presets: what a whole training cost its authors, in images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """A published training.

    Attributes:
        epochs: as published, called iterations there.
        images: generated in each.
        result: what it reached.
        source: where it was published.
    """

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
