"""The arithmetic of GenEval's rules, on plain boxes and numbers: shared with its miniature, the embedded world."""

from __future__ import annotations

import math
from collections.abc import Sequence

POSITION_MARGIN = 0.1  # share of the two boxes' summed extents that an offset must exceed, per axis
_COMPONENT = 0.5  # of a direction's unit vector above which it counts as left, right, above or below
_NEGLIGIBLE = 1e-3  # pixels; a smaller offset has no direction


def count_share(got: int, required: int) -> float:
    """1 - |required - got| / required: 1 for the right number, 0 for none or for twice as many, below 0 for more."""
    return 1 - abs(required - got) / required


def centre_offset(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """From the other box's centre to this one's, (x, y) in pixels; boxes are left, top, right, bottom."""
    return (
        (one[0] + one[2] - other[0] - other[2]) / 2,
        (one[1] + one[3] - other[1] - other[3]) / 2,
    )


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
