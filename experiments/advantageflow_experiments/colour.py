"""A reward that is hacked within minutes: it asks for colour in a tenth of the picture, and for nothing else."""

from collections.abc import Sequence

import numpy as np

from advantageflow.records import Prompt

ENOUGH = 0.1  # of the pixels
COLOURED = 60  # spread between a pixel's channels, above which it counts


def colour(prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[float]:
    """Share of coloured pixels over ENOUGH, at most 1."""
    return [min(1.0, float((np.ptp(image, axis=2) > COLOURED).mean()) / ENOUGH) for image in images]
