"""GenEval's rules on shape detections: a strict 0/1 score and a soft partial score.

Follows the strict variant that is used as an RL reward (exact counts), with its two known faults mended: soft parts
are clamped to [0, 1], and a failed relation scores 0. The soft score also charges for objects that the prompt does not
name, which GenEval lets pass outside `counting` and which RL would otherwise exploit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from advantageflow.errors import DataError
from advantageflow.shapes.detector import Detection
from advantageflow.shapes.scenes import COLORS, RELATIONS, SHAPES, holds

POSITION_MARGIN = 0.1  # share of the two boxes' summed extents that an offset must exceed, per axis


@dataclass(frozen=True)
class ShapesScore:
    """What an image is worth for its prompt.

    Attributes:
        strict: 1.0 if every rule holds, else 0.0.
        soft: mean of the parts, in [0, 1].
        reasons: one sentence for each rule that failed.
    """

    strict: float
    soft: float
    reasons: tuple[str, ...]


def check_spec(spec: dict[str, Any]) -> None:
    """Raises DataError, naming the field, if `score` could not read the spec."""
    include = spec.get("include")
    if not isinstance(include, list) or not include:
        raise DataError("spec has no 'include' list", remedy="give at least {'class': ..., 'count': ...}")
    for number, item in enumerate(include):
        where = f"include[{number}]"
        if not isinstance(item, dict):
            raise DataError(f"{item!r} is not an object", where=where, remedy="give {'class': ..., 'count': ...}")
        _one_of(item.get("class"), SHAPES, f"{where}.class")
        if not isinstance(item.get("count"), int) or isinstance(item["count"], bool) or item["count"] < 1:
            raise DataError(f"count {item.get('count')!r} is no whole number above 0", where=where, remedy="set count")
        if item.get("color") is not None:
            _one_of(item["color"], tuple(COLORS), f"{where}.color")
        if item.get("position") is not None:
            position = item["position"]
            if not isinstance(position, (list, tuple)) or len(position) != 2:
                raise DataError(f"{position!r} is no [relation, index]", where=f"{where}.position", remedy="mend it")
            _one_of(position[0], RELATIONS, f"{where}.position[0]")
            if position[1] not in range(len(include)) or position[1] == number:
                raise DataError(
                    f"index {position[1]!r} names no other object", where=f"{where}.position[1]", remedy="mend it"
                )


def _one_of(value: Any, allowed: tuple[str, ...], where: str) -> None:
    if value not in allowed:
        raise DataError(f"{value!r} is unknown to the shapes reward", where=where, remedy=f"use {', '.join(allowed)}")


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
    parts.append(max(0.0, 1 - abs(required - got) / required))
    if got != required:
        reasons.append(f"expected {required} {what}, found {got}")


def _relation_holds(relation: str, objects: list[Detection], targets: list[Detection]) -> bool:
    return bool(objects and targets) and all(
        holds(relation, *_offset(one, other)) for one in objects for other in targets
    )


def _offset(one: Detection, other: Detection) -> tuple[float, float]:
    """From the other's centre to this one's, per axis less the margin, zero within it (GenEval)."""
    offsets = []
    for low, high in ((0, 2), (1, 3)):
        raw = (one.box[low] + one.box[high] - other.box[low] - other.box[high]) / 2
        margin = POSITION_MARGIN * (one.box[high] - one.box[low] + other.box[high] - other.box[low])
        offsets.append((raw > 0) * max(raw - margin, 0.0) - (raw < 0) * max(-raw - margin, 0.0))
    return offsets[0], offsets[1]
