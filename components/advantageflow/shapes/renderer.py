"""Draws scenes: anti-aliased shapes by supersampling, in numpy alone."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from advantageflow.shapes.scenes import BACKGROUND, COLORS, IMAGE_SIZE, Scene

_SUPERSAMPLING = 5

Floats = NDArray[np.float64]


def _star(x: Floats, y: Floats) -> NDArray[np.bool_]:
    return _polygon(x, y, [(1.08 if k % 2 == 0 else 0.46, np.pi / 2 + k * np.pi / 5) for k in range(10)], shift=0.06)


def _polygon(x: Floats, y: Floats, polar: list[tuple[float, float]], shift: float = 0.0) -> NDArray[np.bool_]:
    """Even-odd fill of a polygon given by (radius, angle) corners; y points down."""
    corners = [(r * np.cos(a), shift - r * np.sin(a)) for r, a in polar]
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def _heart(x: Floats, y: Floats) -> NDArray[np.bool_]:
    lobes = (np.hypot(np.abs(x) - 0.48, y + 0.42) < 0.52) & (y < 0.2)
    point = (np.abs(x) < 0.98 * (0.98 - y) / 1.24) & (y > -0.27)
    return lobes | point


# Membership on [-1, 1]^2 (the object's box), y down.
_MEMBERSHIP: dict[str, Callable[[Floats, Floats], NDArray[np.bool_]]] = {
    "circle": lambda x, y: np.hypot(x, y) < 1,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) < 0.92,
    "triangle": lambda x, y: (y < 0.9) & (np.abs(x) < (y + 0.95) / 1.85),
    "star": _star,
    "cross": lambda x, y: (np.minimum(np.abs(x), np.abs(y)) < 0.32) & (np.maximum(np.abs(x), np.abs(y)) < 1),
    "diamond": lambda x, y: np.abs(x) * 1.25 + np.abs(y) < 1,
    "heart": _heart,
    "ring": lambda x, y: (np.hypot(x, y) < 1) & (np.hypot(x, y) > 0.5),
}


@lru_cache(maxsize=4096)
def coverage(shape: str, x: float, y: float, size: float, pixels: int = IMAGE_SIZE) -> Floats:
    """Share of each pixel that the shape covers.

    Args:
        shape: one of SHAPES.
        x: centre in pixels from the left.
        y: centre in pixels from the top.
        size: width and height in pixels.
        pixels: width and height of the canvas.

    Returns:
        (pixels, pixels), each in [0, 1].
    """
    n = pixels * _SUPERSAMPLING
    axis = (np.arange(n) + 0.5) / _SUPERSAMPLING
    unit_x = np.broadcast_to((axis[None, :] - x) / (size / 2), (n, n))
    unit_y = np.broadcast_to((axis[:, None] - y) / (size / 2), (n, n))
    inside = _MEMBERSHIP[shape](unit_x, unit_y)
    return inside.reshape(pixels, _SUPERSAMPLING, pixels, _SUPERSAMPLING).mean(axis=(1, 3))


def render(scene: Scene) -> NDArray[np.uint8]:
    """The scene as an RGB image (48, 48, 3)."""
    image = np.broadcast_to(np.array(BACKGROUND, dtype=np.float64), (IMAGE_SIZE, IMAGE_SIZE, 3)).copy()
    for item in scene.objects:
        alpha = coverage(item.shape, item.x, item.y, item.size)[:, :, None]
        image = image * (1 - alpha) + alpha * np.array(COLORS[item.color])
    return np.round(image).astype(np.uint8)
