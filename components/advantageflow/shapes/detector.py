"""The embedded world's judge: a rule-based detector, and GenEval's rules on what it finds.

The rules follow the strict variant that is used as an RL reward (exact counts), with its two known faults mended: soft
parts are clamped to [0, 1], and a failed relation scores 0. A relation is judged by the direction of the offset less
the margin; GenEval's own rule (`rewards/geneval/scoring.py`) is stricter where objects nearly touch. The soft score
also charges for objects that the prompt does not name, which GenEval lets pass outside `counting` and which RL would
otherwise exploit.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from advantageflow.rewards.geneval.scoring import count_share, margin_offset
from advantageflow.rewards.geneval.spec import check_include
from advantageflow.rewards.plumbing.results import check_rgb
from advantageflow.shapes.scenes import COLORS, SHAPES, coverage, holds

_FOREGROUND = 60.0  # distance from the background, RGB units, above which a pixel belongs to an object
_MIN_PIXELS = 12  # smaller specks are noise
_MIN_EXTENT, _MAX_EXTENT = 7, 22  # pixels: an object's box
_PATCH = 12  # pixels: side of the normalised patch that shapes are compared on
_BORDER = 0.12  # share of the box shown around it, without which a square would be a constant patch
_MIN_SIMILARITY = 0.86  # correlation below which a blob is not a known shape
_MAX_STRETCH = 1.35  # ratio of width to height, relative to the shape's own, beyond which a blob is only a part of it
_MAX_COLOR_DISTANCE = 75.0  # RGB units from the nearest palette colour


@dataclass(frozen=True)
class Detection:
    """One object that was found."""

    shape: str | None  # one of SHAPES, or None for a blob that is none of them
    color: str | None  # one of COLORS, or None for a colour that is none of them
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels, right and bottom exclusive
    confidence: float  # correlation with the shape's template, in [-1, 1]


def detect(image: NDArray[np.uint8]) -> list[Detection]:
    """Objects in an RGB image (H, W, 3), from left to right. Raises ValueError: the image is not (H, W, 3) uint8."""
    check_rgb(image)
    pixels = image.astype(np.float64)
    background = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    distance = np.linalg.norm(pixels - background, axis=2)
    labels, _ = ndimage.label(distance > _FOREGROUND)
    found = []
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if np.count_nonzero(labels[window] == label) >= _MIN_PIXELS:
            found.append(_classify(pixels, labels, label, background, window))
    return sorted(found, key=lambda d: (d.box[0], d.box[1]))


def _classify(
    pixels: NDArray[np.float64],
    labels: NDArray[np.signedinteger],
    label: int,
    background: NDArray[np.float64],
    window: tuple[slice, ...],
) -> Detection:
    rows, columns = window
    box = (columns.start, rows.start, columns.stop, rows.stop)
    mask = labels[window] == label
    rgb = pixels[window]
    color_rgb = _core_color(rgb, mask, background)
    color = _nearest_color(color_rgb)
    width, height = box[2] - box[0], box[3] - box[1]
    if not (_MIN_EXTENT <= width <= _MAX_EXTENT and _MIN_EXTENT <= height <= _MAX_EXTENT):
        return Detection(None, color, box, 0.0)
    alpha = _alpha(pixels, labels, label, background, color_rgb, window)
    shape, similarity = _nearest_shape(*_normalised(alpha))
    return Detection(shape if similarity >= _MIN_SIMILARITY else None, color, box, similarity)


def _core_color(
    rgb: NDArray[np.float64], mask: NDArray[np.bool_], background: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Median colour of the pixels farthest from the edge, where anti-aliasing mixes in no background."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask]
    values = rgb[mask]
    core = depth >= min(2.0, float(depth.max()))
    return np.asarray(np.median(values[core], axis=0))


def _nearest_color(rgb: NDArray[np.float64]) -> str | None:
    names = list(COLORS)
    distances = np.linalg.norm(np.array([COLORS[n] for n in names]) - rgb, axis=1)
    best = int(np.argmin(distances))
    return names[best] if distances[best] <= _MAX_COLOR_DISTANCE else None


def _alpha(
    pixels: NDArray[np.float64],
    labels: NDArray[np.signedinteger],
    label: int,
    background: NDArray[np.float64],
    color: NDArray[np.float64],
    window: tuple[slice, ...],
) -> NDArray[np.float64]:
    """How far each pixel of the box, two pixels wider, is from background to object colour, in [0, 1]."""
    top, left = max(window[0].start - 2, 0), max(window[1].start - 2, 0)
    area = (slice(top, window[0].stop + 2), slice(left, window[1].stop + 2))
    toward = color - background
    alpha = np.clip(((pixels[area] - background) @ toward) / float(toward @ toward), 0, 1)
    alpha[(labels[area] != label) & (labels[area] != 0)] = 0
    return np.asarray(alpha)


def _normalised(alpha: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The coverage resampled so that its soft box, with a border, fills a square patch; and that box's width / height.

    The patch has zero mean and unit norm.
    """
    bounds, extents = [], []
    for axis in (0, 1):
        profile = alpha.max(axis=1 - axis)
        inside = np.flatnonzero(profile > 0.5)
        if inside.size == 0:
            return np.zeros(_PATCH * _PATCH), 1.0
        first, last = int(inside[0]), int(inside[-1])
        low = first - (profile[first - 1] if first > 0 else 0.0)
        high = last + 1 + (profile[last + 1] if last + 1 < profile.size else 0.0)
        extents.append(high - low)
        border = _BORDER * (high - low)
        low, high = low - border, high + border
        bounds.append(low + (high - low) * (np.arange(_PATCH) + 0.5) / _PATCH - 0.5)
    grid = np.meshgrid(bounds[0], bounds[1], indexing="ij")
    patch = ndimage.map_coordinates(alpha, grid, order=1, mode="constant")
    centred = (patch - patch.mean()).ravel()
    norm = float(np.linalg.norm(centred))
    return np.asarray(centred / norm) if norm > 0 else centred, extents[1] / extents[0]


@lru_cache(maxsize=1)
def _templates() -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Normalised patches (M, patch * patch) of every shape at several sizes and sub-pixel places, and their aspects."""
    patches, aspects, names = [], [], []
    for shape in SHAPES:
        for size in (12.0, 13.0, 14.0):
            for dx in (0.0, 0.5):
                for dy in (0.0, 0.5):
                    patch, aspect = _normalised(coverage(shape, 12 + dx, 12 + dy, size, 24)[2:22, 2:22])
                    patches.append(patch)
                    aspects.append(aspect)
                    names.append(shape)
    return np.array(patches), np.array(aspects), names


def _nearest_shape(patch: NDArray[np.float64], aspect: float) -> tuple[str, float]:
    """The shape of the most similar template and the correlation with it, 0 if it is stretched beyond recognition."""
    patches, aspects, names = _templates()
    similarity = patches @ patch
    best = int(np.argmax(similarity))
    stretch = aspect / aspects[best]
    return names[best], float(similarity[best]) if 1 / _MAX_STRETCH <= stretch <= _MAX_STRETCH else 0.0


@dataclass(frozen=True)
class ShapesScore:
    """What an image is worth for its prompt."""

    strict: float  # 1.0 if every rule holds, else 0.0
    soft: float  # mean of the parts, in [0, 1]
    reasons: tuple[str, ...]  # one sentence for each rule that failed


def check_spec(spec: dict[str, Any]) -> None:
    """Raises DataError, naming the field, if `score` could not read the spec."""
    check_include(spec, SHAPES, tuple(COLORS))


def score(spec: dict[str, Any], detections: list[Detection]) -> ShapesScore:
    """Scores detections against a GenEval spec (see `check_spec` for its form)."""
    parts: list[float] = []
    reasons: list[str] = []
    found = [[d for d in detections if d.shape == item["class"]] for item in spec["include"]]
    for item, objects in zip(spec["include"], found, strict=True):
        required = item["count"]
        _count_part(len(objects), required, item["class"], parts, reasons)
        if item.get("color") is not None:
            matching = sum(d.color == item["color"] for d in objects)
            _count_part(matching, required, f"{item['color']} {item['class']}", parts, reasons)
        if item.get("position") is not None:
            relation, target = item["position"]
            good = _relation_holds(relation, objects, found[target])
            parts.append(float(good))
            if not good:
                reasons.append(f"{item['class']} is not {relation} {spec['include'][target]['class']}")
    strict = float(not reasons)
    required_objects = sum(item["count"] for item in spec["include"])
    named = {item["class"] for item in spec["include"]}
    extras = sum(d.shape not in named for d in detections)
    parts.append(max(0.0, 1 - extras / required_objects))
    if extras:
        reasons.append(f"{extras} object(s) that the prompt does not name")
    return ShapesScore(strict, sum(parts) / len(parts), tuple(reasons))


def _count_part(got: int, required: int, what: str, parts: list[float], reasons: list[str]) -> None:
    parts.append(max(0.0, count_share(got, required)))
    if got != required:
        reasons.append(f"expected {required} {what}, found {got}")


def _relation_holds(relation: str, objects: list[Detection], targets: list[Detection]) -> bool:
    return bool(objects and targets) and all(
        holds(relation, *margin_offset(one.box, other.box)) for one in objects for other in targets
    )
