"""What rewards are handed, held to what they can read: images, and the specs of prompts."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from advantageflow.errors import DataError
from advantageflow.records import Prompt

MOST_PIXELS = 16_777_216  # 4096 x 4096
_FORMATS = ("PNG", "JPEG", "WEBP")  # of Pillow's dozens, some of which start other programs


def check_rgb(image: np.ndarray) -> None:
    """Raises ValueError if the image is not (H, W, 3) uint8, or has no pixels."""
    if image.dtype.name != "uint8" or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"expected an RGB image (H, W, 3) of uint8, got {image.shape} of {image.dtype}")


def decode_image(content: bytes) -> np.ndarray:
    """The pixels (H, W, 3), uint8, of a PNG, JPEG or WebP file.
    Raises ValueError: it cannot be read, or has more than MOST_PIXELS.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is stricter
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
        with image:
            if image.width * image.height > MOST_PIXELS:  # known from the header, before anything is decoded
                size = f"{image.width:,} x {image.height:,} pixels"
                raise ValueError(f"it has {size}, more than {MOST_PIXELS:,}")
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, beside ValueError
        raise ValueError(str(error)) from error


def check_prompt(prompt: Prompt, check_spec: Callable[[dict[str, Any]], None]) -> None:
    """Hold a prompt's spec to a reward's rules: its DataError, whose `where` is the field, names the prompt too."""
    try:
        check_spec(prompt.spec)
    except DataError as error:
        where = f"prompt '{prompt.text}', spec {error.where}".rstrip()
        raise DataError(error.message, where=where, remedy=error.remedy) from error
