"""Cheap statistics of images: how dark, how saturated, how colourful, how sharp, how different from each other.

Of a round's rollouts they are summed up by shard, and joined from all shards.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

DARK = 32  # luma below which a pixel is dark: an eighth of the range
SATURATED = 200  # spread between a pixel's channels from which it is saturated
THUMBNAIL = 32  # pixels a side at which images are compared: composition and colour, not grain
_BITS = 3  # colour entropy counts 2^3 levels a channel
_LUMA = (77, 150, 29)  # of R, G and B, in 256ths (Rec. 601)


def dark_fraction(image: Image) -> float:
    """Share of pixels whose luma (Rec. 601) is below DARK: 1 for a black image, 0 for a white one."""
    return float((_luma(image) < DARK).mean())


def saturated_fraction(image: Image) -> float:
    """Share of pixels whose channels lie SATURATED or more apart: 1 for a pure red image, 0 for a grey one."""
    red, green, blue = _channels(image)
    highest, lowest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((highest - lowest >= SATURATED).mean())


def colour_entropy(image: Image) -> float:
    """Entropy in bits of the image's colours, eight levels a channel: 0 for a single colour, at most 9."""
    red, green, blue = (channel.astype(np.int16) >> (8 - _BITS) for channel in _channels(image))
    bins = (red << (2 * _BITS)) | (green << _BITS) | blue
    counts = np.bincount(bins.ravel())
    shares = counts[counts > 0] / bins.size
    return abs(float(-(shares * np.log2(shares)).sum()))  # abs: a single colour gives -0.0


def sharpness(image: Image) -> float:
    """Mean |Laplacian| of the luma over inner pixels, luma counted from 0 to 1.

    0 for a single colour, and for an image of fewer than 3 pixels a side; at most 4, for a chessboard of pixels.
    """
    luma = _luma(image)
    if min(luma.shape) < 3:
        return 0.0
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.abs(4 * luma[1:-1, 1:-1] - around).mean() / 255)


IMAGE_STATISTICS: dict[str, Callable[[Image], float]] = {
    "dark_fraction": dark_fraction,
    "saturated_fraction": saturated_fraction,
    "colour_entropy": colour_entropy,
    "sharpness": sharpness,
}
STATISTICS = (*IMAGE_STATISTICS, "velocity_norm", "diversity")  # with those that take more than the image


def image_statistics(image: Image) -> dict[str, float]:
    """All statistics of one image (H, W, 3), uint8, by the names in IMAGE_STATISTICS."""
    return {name: statistic(image) for name, statistic in IMAGE_STATISTICS.items()}


def thumbnail(image: Image) -> Image:
    """The image at THUMBNAIL x THUMBNAIL pixels, each the mean of the pixels whose centres it covers."""
    from PIL import Image as Pillow

    small = Pillow.fromarray(image).resize((THUMBNAIL, THUMBNAIL), Pillow.Resampling.BOX)
    return np.asarray(small)


def diversity(thumbnails: Sequence[Image]) -> float:
    """Root mean square difference of pixel values over all pairs of two or more images (H, W, 3): 0 for equal ones, at
    most 1.

    The mean squared difference over the N (N - 1) / 2 pairs is 2 N / (N - 1) times the (population) variance, so this
    takes no loop over pairs.
    """
    if len(thumbnails) < 2:
        raise ValueError("the diversity of fewer than two images is not defined")
    stacked = np.stack(thumbnails).astype(np.float64) / 255
    variance = stacked.var(axis=0).mean()
    return float(np.sqrt(2 * len(thumbnails) / (len(thumbnails) - 1) * variance))


@dataclass
class RolloutStatistics:
    """Takes in the images of a shard, and sums up."""

    images: list[dict[str, float]] = field(default_factory=list)  # statistics of each image
    groups: dict[str, list[Image]] = field(default_factory=dict)  # thumbnails by prompt

    def add(self, prompt_id: str, image: Image) -> None:
        """Take in one image (H, W, 3), uint8."""
        self.images.append(image_statistics(image))
        self.groups.setdefault(prompt_id, []).append(thumbnail(image))

    def summary(self) -> dict[str, dict[str, float]]:
        """By statistic its 'mean' and 'of' how many: images, or groups for the diversity within a group."""
        values = {name: [image[name] for image in self.images] for name in IMAGE_STATISTICS if self.images}
        apart = [diversity(images) for images in self.groups.values() if len(images) > 1]
        values |= {"diversity": apart} if apart else {}
        return {name: {"mean": sum(of_one) / len(of_one), "of": len(of_one)} for name, of_one in values.items()}


def join_summaries(shards: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the whole round of what RolloutStatistics.summary gave for its shards."""
    sums: dict[str, tuple[float, float]] = {}
    for shard in shards:
        for name, one in shard.items():
            total, count = sums.get(name, (0.0, 0.0))
            sums[name] = (total + one["mean"] * one["of"], count + one["of"])
    return {name: total / count for name, (total, count) in sums.items()}


def _luma(image: Image) -> NDArray[np.int32]:
    """(H, W), 0 to 255."""
    red, green, blue = (c.astype(np.int32) * weight for c, weight in zip(_channels(image), _LUMA, strict=True))
    return (red + green + blue) >> 8


def _channels(image: Image) -> tuple[Image, Image, Image]:
    """Red, green and blue, (H, W) each: numpy is slow along an axis of three."""
    return image[..., 0], image[..., 1], image[..., 2]
