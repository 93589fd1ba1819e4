"""A trial of a reward on sample pictures: declared form, range, repeatability, independence of the batch, speed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advantageflow.errors import RewardError
from advantageflow.golden_checks.check import score_pictures
from advantageflow.golden_checks.pictures import Picture
from advantageflow.rewards.base import Result, Reward


@dataclass(frozen=True)
class ColumnTrial:
    """What one column gave.

    Attributes:
        lowest: over the pictures.
        highest: over the pictures.
        repeated: largest difference between two scorings of the same batch.
        alone: largest difference between the batch and the pictures one by one.
    """

    lowest: float
    highest: float
    repeated: float
    alone: float

    @property
    def spread(self) -> float:
        """Highest minus lowest."""
        return self.highest - self.lowest


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        results: of the first pass, one for each picture.
        columns: by name.
        pictures: how many were scored.
        first_seconds: of the first pass, loading included.
        batch_seconds: of the second pass, all pictures in one batch.
        alone_seconds: of the pictures one by one.
        problems: what is wrong, in sentences; empty if nothing is.
    """

    results: Sequence[Result]
    columns: Mapping[str, ColumnTrial]
    pictures: int
    first_seconds: float
    batch_seconds: float
    alone_seconds: float
    problems: Sequence[str]


def try_reward(reward: Reward, pictures: Sequence[Picture], *, tolerance: float, distinct: bool = True) -> Trial:
    """Score pictures in one batch, again, and one by one.

    Args:
        reward: what to try.
        pictures: at least one, with prompts that it can read.
        tolerance: differences between two scorings that do not matter, as a share of the column's spread.
        distinct: whether the pictures fit their prompts well enough that giving all the same is a problem.

    Raises:
        RewardError: what it declares of itself is wrong, it failed, or gave what it did not declare; names the picture.
    """
    check_declaration(reward)
    first, first_seconds = _timed(reward, [pictures])
    again, batch_seconds = _timed(reward, [pictures])
    alone, alone_seconds = _timed(reward, [[picture] for picture in pictures])
    columns = {column: _column(column, first, again, alone) for column in reward.columns}
    problems = [problem for name, column in columns.items() for problem in _differences(name, column, tolerance)]
    if distinct and len(pictures) > 1 and all(column.spread == 0 for column in columns.values()):
        problems.append(f"all {len(pictures)} pictures got the same scores")
    return Trial(first, columns, len(pictures), first_seconds, batch_seconds, alone_seconds, problems)


def check_declaration(reward: Reward) -> None:
    """Hold what a reward says of itself to the protocol, types included.

    Raises:
        RewardError: its name, version, columns or direction are not as they should be.
    """
    declared: list[tuple[bool, str]] = [
        (_is_text(reward.name), f"name is {reward.name!r}, not a text"),
        (_is_text(reward.version), f"version is {reward.version!r}, not a text"),
        (isinstance(reward.higher_is_better, bool), f"higher_is_better is {reward.higher_is_better!r}, not a bool"),
        (
            isinstance(reward.columns, Mapping) and bool(reward.columns),
            f"columns are {reward.columns!r}, not a mapping",
        ),
    ]
    for right, what in declared:
        if not right:
            raise _badly_declared(reward, what)
    for name, limits in reward.columns.items():
        if not _is_range(limits):
            raise _badly_declared(reward, f"the range of column '{name}' is {limits!r}, not (lowest, highest)")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_range(limits: Any) -> bool:
    try:
        low, high = limits
        return bool(low < high) and not math.isnan(low) and not math.isnan(high)
    except (TypeError, ValueError):
        return False


def _badly_declared(reward: Reward, what: str) -> RewardError:
    remedy = "see advantageflow.rewards.base.Reward for what a reward declares"
    return RewardError(what, where=f"reward {type(reward).__name__}", remedy=remedy)


def _timed(reward: Reward, batches: Sequence[Sequence[Picture]]) -> tuple[list[Result], float]:
    """The results of all batches, and the seconds that they took."""
    started = time.perf_counter()
    results = [result for batch in batches for result in score_pictures(reward, batch)]
    return results, time.perf_counter() - started


def _column(name: str, first: Sequence[Result], again: Sequence[Result], alone: Sequence[Result]) -> ColumnTrial:
    values, repeated, singly = ([float(scores[name]) for scores, _ in pass_] for pass_ in (first, again, alone))
    return ColumnTrial(
        lowest=min(values),
        highest=max(values),
        repeated=max(abs(a - b) for a, b in zip(values, repeated, strict=True)),
        alone=max(abs(a - b) for a, b in zip(values, singly, strict=True)),
    )


def _differences(name: str, column: ColumnTrial, tolerance: float) -> list[str]:
    allowed = tolerance * column.spread
    found = []
    if column.repeated > allowed:
        found.append(f"{name} differs by {column.repeated:.3g} when the same batch is scored twice")
    if column.alone > allowed:
        found.append(f"{name} differs by {column.alone:.3g} between one batch and the pictures one by one")
    return found
