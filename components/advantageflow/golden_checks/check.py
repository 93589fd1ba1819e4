"""Before a run: every reward scores golden pictures, and the run stops if it does not score them as it should.

And a trial of a reward on sample pictures: range, repeatability, independence of the batch, speed.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

from advantageflow.errors import DataError, RewardError
from advantageflow.golden_checks.pictures import Picture, Recorded, check_golden_file, find_golden
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, Reward
from advantageflow.rewards.plumbing.checks import check_readable, identical_columns, score_images
from advantageflow.settings import RewardSettings

_RECORD = "advantageflow rewards record --reward NAME --images DIR -o FILE, then --set reward.golden=FILE"

logger = logging.getLogger(__name__)


def check_rewards(
    settings: RewardSettings, rewards: Mapping[str, Reward], prompts: Sequence[Prompt] = ()
) -> dict[str, float]:
    """Hold every reward of a run to its golden pictures; its trained and watched columns must tell them apart.

    Args:
        rewards: by the name that settings call them.
        prompts: of the run; a reward that does not say what it can read is tried on these.

    Returns:
        Metrics: by reward, pictures scored and seconds; an alarm for a reward that can read none of their prompts.

    Raises:
        RewardError: a reward raised, gave what it did not declare or is not finite, gave all pictures the same, or left
            the tolerance of its recorded scores; names the reward and the picture.
        SettingsError: the file of recorded scores has none of these rewards.
        DataError: it is wrong, or cannot be read.
    """
    file = None if settings.golden is None else Path(settings.golden)
    if file is not None:
        check_golden_file(file, rewards)
    metrics: dict[str, float] = {}
    for name, reward in rewards.items():
        started = time.monotonic()
        columns = [term.column for term in (*settings.terms, *settings.watched) if term.name == name]
        pictures, recorded = find_golden(name, file)
        if recorded is None and getattr(reward, "reads_any", False):
            pictures = with_prompts(pictures, prompts)
        count = check_reward(reward, pictures, recorded, columns)
        metrics |= {f"golden_check/{name}/pictures": count, f"golden_check/{name}/seconds": time.monotonic() - started}
        metrics[f"alarm/{name}_no_golden_check"] = float(count == 0)
        if count == 0:
            logger.warning(
                "alarm: reward '%s' is unchecked: it can read the prompt of no golden picture; record your own: %s",
                name, _RECORD,
            )  # fmt: skip
    return metrics


def check_reward(reward: Reward, pictures: Sequence[Picture], recorded: Recorded | None, columns: Sequence[str]) -> int:
    """Hold one reward to golden pictures; gives how many counted: those whose prompts it can read.

    `recorded` is what it should give, None where that is not known; each of `columns`, trained on or watched, must tell
    the pictures apart. Raises RewardError as check_rewards does.
    """
    read = readable(reward, pictures)
    for unread in (recorded.scores if recorded else {}).keys() - {picture.name for picture in read}:
        message = f"its score of golden picture '{unread}' is recorded, but it can no longer read the picture's prompt"
        raise _error(reward, message, f"mend the reward's check(), or record again: {_RECORD}")
    results = score_pictures(reward, read) if read else []
    identical = identical_columns([values for values, _ in results])
    for column in columns:
        if identical.get(column):
            message = f"gave {column} = {results[0][0][column]:g} for all {len(results)} golden pictures"
            remedy = f"mend the reward; if it cannot judge such pictures, record scores of your own: {_RECORD}"
            raise _error(reward, message, remedy)
    if recorded:
        for picture, (values, _) in zip(read, results, strict=True):
            _check_tolerance(reward, recorded, picture.name, values)
    return len(read)


def with_prompts(pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Picture]:
    """The pictures with these prompts in turn; none where there are no prompts."""
    return [replace(one, prompt=prompt) for one, prompt in zip(pictures, cycle(prompts), strict=False)]


def readable(reward: Reward, pictures: Sequence[Picture]) -> list[Picture]:
    """The pictures whose prompts the reward can read; raises RewardError if check() fails otherwise."""
    read = []
    for picture in pictures:
        with suppress(DataError):
            check_readable(reward, picture.prompt)
            read.append(picture)
    return read


def score_pictures(reward: Reward, pictures: Sequence[Picture]) -> list[Result]:
    """Score pictures under the failure rules; errors name the picture."""
    names = [f"picture '{picture.name}'" for picture in pictures]
    return score_images(reward, [one.prompt for one in pictures], [one.image for one in pictures], names)


def _check_tolerance(reward: Reward, recorded: Recorded, picture: str, values: Mapping[str, float]) -> None:
    scores = recorded.scores.get(picture)
    if scores is None:
        return
    for column, value in values.items():
        if column not in scores or column not in recorded.tolerance:
            message = f"no score of column '{column}' is recorded for golden picture '{picture}'"
            raise _error(reward, message, f"record its scores again: {_RECORD}")
        tolerance = recorded.tolerance[column]
        if abs(value - scores[column]) > tolerance:
            made_by = f"version {recorded.version}" + (f" and options {recorded.options}" if recorded.options else "")
            message = (
                f"gave {column} = {value:g} for golden picture '{picture}', outside {scores[column]:g} +- "
                f"{tolerance:g}, as recorded with {made_by}"
            )
            raise _error(reward, message, f"find out why its scores have changed; if they are right, record: {_RECORD}")


def _error(reward: Reward, message: str, remedy: str) -> RewardError:
    return RewardError(message, where=f"golden check of reward '{reward.name}' {reward.version}", remedy=remedy)


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
