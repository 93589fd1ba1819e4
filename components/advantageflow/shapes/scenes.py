"""Scenes of the embedded world: coloured shapes on a 3 x 3 grid of cells, and scenes drawn to a GenEval-like spec."""

from dataclasses import dataclass
from typing import Any

import numpy as np

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
        for _ in range(count):
            wanted.append(
                (shape, shared if same_color or "color" in include else _color(include, rng, noise), relation)
            )
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
