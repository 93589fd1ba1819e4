"""Scenes of the embedded world: coloured shapes on a grid of 3 x 3 cells, drawn to a GenEval-like spec, as images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SUPERSAMPLING = 5

Floats = NDArray[np.float64]
IMAGE_SIZE = 48  # pixels
GRID = 3  # cells in a row and in a column
CELL = IMAGE_SIZE // GRID  # pixels
OBJECT_SIZE = 13.0  # pixels, the nominal width and height of an object

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "heart", "ring")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 25, 30),
    "orange": (255, 140, 10),
    "yellow": (245, 220, 25),
    "green": (25, 145, 55),
    "blue": (30, 85, 225),
    "purple": (125, 35, 165),
    "pink": (255, 130, 195),
    "black": (25, 25, 28),
}
BACKGROUND = (243, 243, 240)
RELATIONS = ("left of", "right of", "above", "below")
MAX_COUNT = 4


@dataclass(frozen=True)
class SceneObject:
    """A shape in a scene."""

    shape: str
    color: str
    x: float  # centre, pixels from the left edge
    y: float  # centre, pixels from the top edge
    size: float = OBJECT_SIZE  # width and height, pixels


@dataclass(frozen=True)
class Scene:
    """What an image shows; objects do not overlap."""

    objects: tuple[SceneObject, ...]


def cell_centre(cell: int) -> tuple[float, float]:
    """Centre (x, y) in pixels of a cell, numbered 0 .. 8 row by row."""
    return (cell % GRID) * CELL + CELL / 2, (cell // GRID) * CELL + CELL / 2


def holds(relation: str, offset_x: float, offset_y: float) -> bool:
    """Whether a direction (y down, any length) lies within 60 degrees of the relation's axis, as GenEval asks."""
    norm = float(np.hypot(offset_x, offset_y))
    if norm == 0:
        return False
    component = {"left of": -offset_x, "right of": offset_x, "above": -offset_y, "below": offset_y}[relation]
    return component / norm > 0.5


@dataclass(frozen=True)
class CaptionNoise:
    """How often a training picture disobeys its caption (probabilities)."""

    mismatch: float = 0.2  # the whole picture belongs to another caption
    shape: float = 0.2  # an object's shape is another one, each object
    color: float = 0.25  # a named colour is another one, each object
    count: float = 0.4  # the number of objects is another one, in counting captions
    relation: float = 0.5  # the objects stand anywhere
    extra: float = 0.1  # there is an object that the caption does not name


NO_NOISE = CaptionNoise(0, 0, 0, 0, 0, 0)


def scene_for(spec: dict[str, Any], rng: np.random.Generator, noise: CaptionNoise = NO_NOISE) -> Scene:
    """A random scene for a GenEval-like spec, obeying it except where `noise` strikes (`mismatch` is the caller's)."""
    wanted: list[tuple[str, str, str | None]] = []  # shape, colour, relation to the first
    for include in spec["include"]:
        count = include["count"]
        if spec["tag"] == "counting" and rng.random() < noise.count:
            count = int(rng.choice([n for n in range(1, MAX_COUNT + 1) if n != count]))
        shape = include["class"]
        if rng.random() < noise.shape:
            shape = _other(shape, SHAPES, rng)
        relation = include["position"][0] if "position" in include else None
        shared = _color(include, rng, noise)
        same_color = rng.random() < 0.5
        of_one = same_color or "color" in include
        wanted += [(shape, shared if of_one else _color(include, rng, noise), relation) for _ in range(count)]
    if rng.random() < noise.extra:
        wanted.append((_other(wanted[0][0], SHAPES, rng), str(rng.choice(list(COLORS))), None))
    obey = rng.random() >= noise.relation
    cells = _place([relation if obey else None for _, _, relation in wanted], rng)
    objects = [SceneObject(s, c, *cell_centre(cell)) for (s, c, _), cell in zip(wanted, cells, strict=True)]
    return Scene(tuple(objects))


def _color(include: dict[str, Any], rng: np.random.Generator, noise: CaptionNoise) -> str:
    color = include.get("color")
    if color is None:
        return str(rng.choice(list(COLORS)))
    return _other(color, tuple(COLORS), rng) if rng.random() < noise.color else str(color)


def _other(value: str, values: tuple[str, ...], rng: np.random.Generator) -> str:
    return str(rng.choice([v for v in values if v != value]))


def _place(relations: list[str | None], rng: np.random.Generator) -> list[int]:
    """Distinct cells such that each object with a relation stands so to the first object, at the opposite side.

    Opposite sides (columns or rows two apart) say more about a relation than neighbours do: where each of the two may
    stand then differs enough for a model of this size to learn the words.
    """
    while True:
        cells = [int(c) for c in rng.permutation(GRID * GRID)[: len(relations)]]
        first_x, first_y = cell_centre(cells[0])
        for relation, cell in zip(relations, cells, strict=True):
            x, y = cell_centre(cell)
            if relation is not None and not _opposite(relation, x - first_x, y - first_y):
                break
        else:
            return cells


def _opposite(relation: str, offset_x: float, offset_y: float) -> bool:
    """Whether the relation holds over the whole width or height of the grid."""
    along = offset_x if relation in ("left of", "right of") else offset_y
    return abs(along) == (GRID - 1) * CELL and holds(relation, offset_x, offset_y)


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
