"""GenEval's rules on detections: which of them count, the official verdict, and the strict and soft scores of RL.

Plain Python on what a detector and a colour classifier found, whichever they are. Sources: GenEval's own evaluation
(arXiv 2310.11513) for `correct`; the reward that Flow-GRPO and later RL code train on for `strict` and `soft`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advantageflow.rewards.geneval.spec import CLASSES, COUNTING, MOST

POSITION_MARGIN = 0.1  # share of the two boxes' summed extents that an offset must exceed, per axis
_COMPONENT = 0.5  # of a direction's unit vector above which it counts as left, right, above or below
_NEGLIGIBLE = 1e-3  # pixels; a smaller offset has no direction
THRESHOLD = 0.3  # confidence that a detection must exceed
COUNTING_THRESHOLD = 0.9  # the same in the task 'counting'
LOWEST_SOFT = 1 - (MOST - 1)  # of the peers' unclamped soft score: one object is asked for, 16 are found


@dataclass(frozen=True, eq=False)
class Detection:
    """One object that a detector found."""

    index: int  # its class, 0 .. 79, an index into CLASSES.
    score: float  # confidence, in [0, 1]
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels, right and bottom exclusive
    mask: NDArray[np.bool_] | None = None  # (H, W), True where the object is; None if the detector gives none
    color: str | None = None  # one of COLORS; None where nothing asked for it


Found = Mapping[str, Sequence[Detection]]
"""Detections by class name, surest first."""


@dataclass(frozen=True)
class GenEvalScore:
    """What an image is worth for its prompt."""

    correct: float  # 1.0 if GenEval's own evaluation passes the image, else 0.0
    strict: float  # 1.0 if every count, colour and position is exactly as asked, else 0.0
    soft: float  # mean of the parts, in [0, 1] (unless peer-compatible)
    failed: tuple[str, ...]  # one sentence for each rule that made `correct` fail
    failed_strict: tuple[str, ...]  # the same for `strict`


def select(detections: Iterable[Detection], tag: str) -> dict[str, list[Detection]]:
    """Those of an image that count: sure enough for the spec's task, the 16 surest of each class, overlaps too."""
    threshold = COUNTING_THRESHOLD if tag == COUNTING else THRESHOLD
    found: dict[str, list[Detection]] = {}
    for detection in sorted(detections, key=lambda d: -d.score):
        if detection.score > threshold:
            found.setdefault(CLASSES[detection.index], []).append(detection)
    return {name: objects[:MOST] for name, objects in found.items()}


def colors_needed(spec: Mapping[str, Any], found: Found) -> dict[str, int]:
    """By class, how many of the surest objects must have a color before `score`: no verdict depends on the others'."""
    needed: dict[str, int] = {}
    for item in spec["include"]:
        name, count = item["class"], item["count"]
        if item.get("color") is not None and len(found.get(name, ())) >= count:
            needed[name] = max(count, needed.get(name, 0))
    return needed


def score(spec: Mapping[str, Any], found: Found, *, peer_compatible: bool = False) -> GenEvalScore:
    """Score what was found against a spec that `check_spec` passes.
    Raises ValueError: an object whose color matters has none.

    Args:
        spec: tag, include and exclude.
        found: from `select`, with the colors that `colors_needed` asks for.
        peer_compatible: reproduce two faults of the published soft reward: parts below 0 are not clamped, and a failed
            relation counts as a 0 and a 1 (an image with both objects in the wrong places has .75, not .67).
    """
    failed = _official_failures(spec, found)
    parts, failed_strict = _parts(spec, found, peer_compatible)
    soft = sum(parts) / len(parts)
    return GenEvalScore(float(not failed), float(not failed_strict), soft, tuple(failed), tuple(failed_strict))


def _official_failures(spec: Mapping[str, Any], found: Found) -> list[str]:
    """GenEval's non-strict rules: enough objects, the surest of which are as asked; and no excluded ones."""
    failures: list[str] = []
    groups: list[Sequence[Detection] | None] = []  # the objects of each item; None where they are not as asked
    for item in spec["include"]:
        objects = found.get(item["class"], ())[: item["count"]]
        of_item = _official_item(item, objects, groups)
        groups.append(None if of_item else objects)
        failures += of_item
    for item in spec.get("exclude") or ():
        got = len(found.get(item["class"], ()))
        if got >= item["count"]:
            failures.append(f"expected fewer than {item['count']} {item['class']}, found {got}")
    return failures


def _official_item(
    item: Mapping[str, Any], objects: Sequence[Detection], groups: Sequence[Sequence[Detection] | None]
) -> list[str]:
    required, name = item["count"], item["class"]
    if len(objects) < required:
        return [f"expected at least {required} {name}, found {len(objects)}"]
    if item.get("color") is not None:
        matching = _matching(objects, item["color"])
        if matching < required:
            return [f"expected at least {required} {item['color']} {name}, found {matching} ({_colors(objects)})"]
    return _position_failures(item, objects, groups)


def _parts(spec: Mapping[str, Any], found: Found, peer_compatible: bool) -> tuple[list[float], list[str]]:
    """Parts of the soft score over all items, and why the strict score fails; `exclude` is not looked at."""
    parts: list[float] = []
    failures: list[str] = []
    groups: list[Sequence[Detection] | None] = []
    for item in spec["include"]:
        objects = found.get(item["class"], ())
        of_item, why = _strict_item(item, objects, groups, peer_compatible)
        groups.append(None if why else objects)
        parts += of_item if peer_compatible else [max(0.0, part) for part in of_item]
        failures += why
    return parts, failures


def _strict_item(
    item: Mapping[str, Any],
    objects: Sequence[Detection],
    groups: Sequence[Sequence[Detection] | None],
    peer_compatible: bool,
) -> tuple[list[float], list[str]]:
    required, name = item["count"], item["class"]
    parts = [count_share(len(objects), required)]
    if len(objects) != required:  # then neither colour nor position can be right: one part, 0, for both
        more = item.get("color") is not None or item.get("position") is not None
        return [*parts, 0.0] if more else parts, [f"expected exactly {required} {name}, found {len(objects)}"]
    if item.get("color") is not None:
        matching = _matching(objects, item["color"])
        parts.append(count_share(matching, required))
        if matching != required:
            why = f"expected exactly {required} {item['color']} {name}, found {matching} ({_colors(objects)})"
            return parts, [why]
    if item.get("position") is None:
        return parts, []
    failures = _position_failures(item, objects, groups)
    parts.append(float(not failures))
    if failures and peer_compatible and groups[item["position"][1]] is not None:
        parts.append(1.0)
    return parts, failures


def _position_failures(
    item: Mapping[str, Any], objects: Sequence[Detection], groups: Sequence[Sequence[Detection] | None]
) -> list[str]:
    """Why the item's position, if it asks for one, does not hold for every pair."""
    if item.get("position") is None:
        return []
    relation, index = item["position"]
    targets = groups[index]
    if targets is None:
        return [f"nothing is as asked that {item['class']} could be {relation}"]
    for one in objects:
        for other in targets:
            holding = relations(one.box, other.box)
            if relation not in holding:
                target = CLASSES[other.index]
                seen = " and ".join(sorted(holding)) or "in no clear relation to it"
                return [f"expected {item['class']} {relation} {target}, it is {seen}"]
    return []


def _matching(objects: Sequence[Detection], color: str) -> int:
    if any(one.color is None for one in objects):
        raise ValueError("an object whose color decides has none; fill in what colors_needed names")
    return sum(one.color == color for one in objects)


def _colors(objects: Sequence[Detection]) -> str:
    return ", ".join(str(one.color) for one in objects)


def count_share(got: int, required: int) -> float:
    """1 - |required - got| / required: 1 for the right number, 0 for none or for twice as many, below 0 for more."""
    return 1 - abs(required - got) / required


def centre_offset(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """From the other box's centre to this one's, (x, y) in pixels; boxes are left, top, right, bottom."""
    return ((one[0] + one[2] - other[0] - other[2]) / 2, (one[1] + one[3] - other[1] - other[3]) / 2)


def margin_offset(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The offset of the centres less the margin, per axis: sign * max(|offset| - 0.1 (extent + other's extent), 0)."""
    x, y = centre_offset(one, other)
    width = abs(one[2] - one[0]) + abs(other[2] - other[0])
    height = abs(one[3] - one[1]) + abs(other[3] - other[1])
    return _less(x, POSITION_MARGIN * width), _less(y, POSITION_MARGIN * height)


def relations(one: Sequence[float], other: Sequence[float]) -> set[str]:
    """How one box stands to the other, by GenEval: 'left of', 'right of', 'above', 'below'; none, one or two of them.

    A relation holds if its component of the offset less the margin, divided by the length of the offset *with* the
    margin, exceeds 0.5; so it gets stricter the nearer the boxes are. Image coordinates: y grows downwards.
    """
    x, y = margin_offset(one, other)
    if max(abs(x), abs(y)) < _NEGLIGIBLE:
        return set()
    length = math.hypot(*centre_offset(one, other))
    components = {"left of": -x / length, "right of": x / length, "above": -y / length, "below": y / length}
    return {relation for relation, component in components.items() if component > _COMPONENT}


def _less(offset: float, margin: float) -> float:
    return math.copysign(max(abs(offset) - margin, 0.0), offset)
