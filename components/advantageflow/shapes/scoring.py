"""GenEval's rules on shape detections: a strict 0/1 score and a soft partial score.

Follows the strict variant that is used as an RL reward (exact counts), with its two known faults mended: soft parts
are clamped to [0, 1], and a failed relation scores 0. A relation is judged by the direction of the offset less the
margin; GenEval's own rule (`rewards/geneval/scoring.py`) is stricter where objects nearly touch. The soft score also
charges for objects that the prompt does not name, which GenEval lets pass outside `counting` and which RL would
otherwise exploit.
"""

from dataclasses import dataclass
from typing import Any

from advantageflow.rewards.geneval.scoring import count_share, margin_offset
from advantageflow.rewards.geneval.spec import check_include
from advantageflow.shapes.detector import Detection
from advantageflow.shapes.scenes import COLORS, SHAPES, holds


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
