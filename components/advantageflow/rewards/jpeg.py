"""JPEG compressibility: the classic sanity reward of RL for image models; it needs no model and no spec."""

import io
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from advantageflow.records import Prompt
from advantageflow.rewards.base import Result

QUALITY = 95
LARGEST = 20_000.0  # kilobytes; noise of 4096 x 4096 pixels stays below it at this quality


class JpegReward:
    """Size of the image as JPEG: kilobytes, negated for compressibility.

    Follows the reward of DDPO (Black et al., arXiv 2305.13301): quality 95, 1 kilobyte = 1000 bytes.
    """

    name = "jpeg"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {
        "compressibility": (-LARGEST, 0.0),
        "incompressibility": (0.0, LARGEST),
    }
    higher_is_better = True

    @property
    def version(self) -> str:
        """Code version and the JPEG library: sizes differ between libraries."""
        from PIL import __version__, features

        return f"1 (quality {QUALITY}, Pillow {__version__}, libjpeg {features.version('jpg')})"

    def check(self, prompt: Prompt) -> None:
        """Any prompt will do."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Compress each image; details hold the size in bytes."""
        return [_result(image) for image in images]


def _result(image: np.ndarray) -> Result:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=QUALITY)
    size = buffer.tell()
    return {"compressibility": -size / 1000, "incompressibility": size / 1000}, {"bytes": size}
