"""A reward in ten lines: how warm a picture is, from -1 (blue) to 1 (red)."""

import numpy as np


def warmth(prompts, images):
    """One number an image; images are uint8 arrays (height, width, 3)."""
    means = [image.reshape(-1, 3).mean(axis=0) / 255 for image in images]
    return np.array([red - blue for red, _, blue in means])
