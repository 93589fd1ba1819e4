"""Images as vision encoders read them, by Pillow and torch: what torchvision's transforms do, without torchvision."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advantageflow.annotations import Image, Tensor
from advantageflow.rewards.plumbing.results import check_rgb

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def to_picture(image: NDArray[np.uint8]) -> Image:
    """The picture of an RGB array (H, W, 3); raises ValueError if it is none."""
    from PIL import Image

    check_rgb(image)
    return Image.fromarray(image)


def processed(processor: Any, images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Images through an image processor of transformers: (N, 3, side, side), float32."""
    pixels: Tensor = processor(images=[to_picture(one) for one in images], return_tensors="pt")["pixel_values"]
    return pixels


def centre_square(images: Sequence[NDArray[np.uint8]], side: int) -> Tensor:
    """Shorter side to `side` (bicubic), the centre cut out, CLIP's mean and deviation: (N, 3, side, side), float32.

    As torchvision's Resize and CenterCrop do on pictures, rounding included.
    """
    import torch
    from PIL.Image import Resampling

    squares = []
    for image in images:
        picture = to_picture(image)
        shorter = min(picture.size)
        width, height = (side if length == shorter else int(side * length / shorter) for length in picture.size)
        if (width, height) != picture.size:
            picture = picture.resize((width, height), Resampling.BICUBIC)
        left, top = round((width - side) / 2), round((height - side) / 2)
        squares.append(_tensor(np.asarray(picture.crop((left, top, left + side, top + side)))))
    return _normalised(torch.stack(squares))


def padded_square(images: Sequence[NDArray[np.uint8]], side: int, *, antialias: bool) -> Tensor:
    """Longer side to `side` (bicubic), black borders, CLIP's mean and deviation: (N, 3, side, side), float32.

    As torchvision's resize and pad do on float tensors: values that bicubic interpolation takes beyond black and white
    stay, and without `antialias` large images are sampled, not averaged.
    """
    import torch
    from torch.nn.functional import interpolate, pad

    squares = []
    for image in images:
        pixels = _tensor(np.asarray(to_picture(image)))
        scale = side / max(pixels.shape[1:])
        height, width = (max(1, round(length * scale)) for length in pixels.shape[1:])
        if (height, width) != tuple(pixels.shape[1:]):
            pixels = interpolate(
                pixels[None], (height, width), mode="bicubic", align_corners=False, antialias=antialias
            )[0]
        below, beside = side - height, side - width
        squares.append(pad(pixels, (beside // 2, beside - beside // 2, below // 2, below - below // 2)))
    return _normalised(torch.stack(squares))


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) in 0..255 as (3, H, W) in 0..1, float32."""
    import torch

    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)) / 255


def _normalised(pixels: Tensor) -> Tensor:
    import torch

    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (pixels - mean) / std
