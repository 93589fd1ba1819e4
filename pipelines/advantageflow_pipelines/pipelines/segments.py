"""Segments of a run that is too long for one pipeline run: some of its rounds each, in pipeline runs that continue
each other."""

from __future__ import annotations

import math
from typing import NamedTuple


class Segment(NamedTuple):
    """Some rounds of a run, one after the other.

    Attributes:
        first: of its rounds, from 1.
        last: of its rounds.
        following: the rounds of the segment after it, as `rounds` gives them; empty for the last one.
    """

    first: int
    last: int
    following: str = ""

    @property
    def rounds(self) -> str:
        """Such as '6-10'."""
        return f"{self.first}-{self.last}"


def divide(rounds: int, at_most: int) -> tuple[Segment, ...]:
    """Segments of a run, of about equal length."""
    number = math.ceil(rounds / at_most)
    ends = [rounds * (one + 1) // number for one in range(number)]
    pieces = [Segment(before + 1, last) for before, last in zip([0, *ends], ends, strict=False)]
    following = [*(piece.rounds for piece in pieces[1:]), ""]
    return tuple(piece._replace(following=rounds) for piece, rounds in zip(pieces, following, strict=True))
