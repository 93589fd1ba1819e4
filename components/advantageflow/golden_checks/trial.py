"""A trial of a reward on sample pictures: range, repeatability, independence of the batch, speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from advantageflow.golden_checks.check import score_pictures
from advantageflow.golden_checks.pictures import Picture
from advantageflow.rewards.base import Result, Reward


@dataclass(frozen=True)
class ColumnTrial:
    """What one column gave, over the pictures."""

    lowest: float
    highest: float
    repeated: float  # largest difference between two scorings of the same batch
    alone: float  # largest difference between the batch and the pictures one by one

    @property
    def spread(self) -> float:
        """Highest minus lowest."""
        return self.highest - self.lowest


@dataclass(frozen=True)
class Trial:
    """What came of it: by column, and in seconds, loading included in the first pass."""

    columns: dict[str, ColumnTrial]
    first_seconds: float  # of all pictures in one batch, the first time and again
    batch_seconds: float
    alone_seconds: float  # of the pictures one by one

    def problems(self, tolerance: float) -> list[str]:
        """What differs between two scorings by more than this share of its column's spread, in sentences."""
        return [
            f"{name} differs by {apart:.3g} {when}"
            for name, column in self.columns.items()
            for apart, when in (
                (column.repeated, "when the same batch is scored twice"),
                (column.alone, "between one batch and the pictures one by one"),
            )
            if apart > tolerance * column.spread
        ]


def try_reward(reward: Reward, pictures: Sequence[Picture]) -> Trial:
    """Score one or more pictures, whose prompts it can read, in one batch, again, and one by one."""
    first, first_seconds = _timed(reward, [pictures])
    again, batch_seconds = _timed(reward, [pictures])
    alone, alone_seconds = _timed(reward, [[picture] for picture in pictures])
    columns = {}
    for name in reward.columns:
        values, repeated, singly = ([float(scores[name]) for scores, _ in one] for one in (first, again, alone))
        columns[name] = ColumnTrial(min(values), max(values), _apart(values, repeated), _apart(values, singly))
    return Trial(columns, first_seconds, batch_seconds, alone_seconds)


def _timed(reward: Reward, batches: Sequence[Sequence[Picture]]) -> tuple[list[Result], float]:
    """The results of all batches, and the seconds that they took."""
    started = time.perf_counter()
    results = [result for batch in batches for result in score_pictures(reward, batch)]
    return results, time.perf_counter() - started


def _apart(values: Sequence[float], others: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(values, others, strict=True))
