"""Reward-hacking metrics of an evaluation: statistics of its images and watched rewards, held against the base's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from advantageflow.errors import DataError
from advantageflow.evaluation.plan import Shot
from advantageflow.evaluation.report import read_outcomes, read_statistics
from advantageflow.evaluation.statistics import Outcome
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.settings import AlarmSettings, RewardSettings
from advantageflow.watch.images import STATISTICS, Image, diversity, image_statistics, thumbnail

Key = tuple[str, int]
"""Prompt id and seed: what tells an image, whatever policy made it."""


@dataclass
class ImageStatistics:
    """The statistics of an evaluation's images as they are made; of the images it keeps one thumbnail a prompt."""

    # values of each image; 'diversity' is how far it is from the image before it of the same prompt, NaN for a prompt's
    # first, so that a paired mean over any first images of a plan is a mean over the same pairs
    rows: list[dict[str, Any]] = field(default_factory=list)
    _latest: dict[str, Image] = field(default_factory=dict)

    def add(self, shot: Shot, picture: Image, velocity_norm: float) -> None:
        """Take in one image (H, W, 3), uint8, in order of the plan."""
        prompt_id, small = shot.prompt.prompt_id, thumbnail(picture)
        before = self._latest.get(prompt_id)
        self._latest[prompt_id] = small
        apart = math.nan if before is None else diversity([before, small])
        values = {**image_statistics(picture), "velocity_norm": velocity_norm, "diversity": apart}
        self.rows.append({"prompt_id": prompt_id, "seed": shot.seed, **values})


def hacking_metrics(
    rows: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcome],
    reward: RewardSettings,
    judges: Mapping[str, Reward],
    bounds: AlarmSettings,
    base: Path | None,
) -> tuple[dict[str, Any], list[Alarm]]:
    """What metrics.json says of reward hacking, and the alarms.

    Args:
        outcomes: how they were judged, with the values of the watched rewards.
        reward, judges: which rewards are watched, and the rewards by name.
        bounds: how far means may move.
        base: the report of the base policy; None raises no alarms. Of both, the images that they share are compared.

    Returns:
        'statistics' by name, each with its 'mean' (over the images shared with the base) and the 'base' one;
        'alarms', each with its 'name', 'value', 'base', 'bound' and 'message', and 'change' where that is finite; and
        the alarms themselves.

    Raises:
        StoreError: the base's report cannot be read.
        DataError: the base's report has none of these images.
    """
    if base is None:
        return {"statistics": {name: {"mean": mean} for name, mean in _means(rows).items()}, "alarms": []}, []
    of_base = read_statistics(base)
    shared = {_key(row) for row in rows} & {_key(row) for row in of_base}
    if not shared:
        remedy = "compare evaluations of one run's prompts, with equal seed"
        raise DataError("the base's report has none of the images of this evaluation", where=str(base), remedy=remedy)
    now, then = (_means(row for row in of_one if _key(row) in shared) for of_one in (rows, of_base))
    alarms = statistic_alarms(bounds, now, then)
    judged, judged_then = (
        [one for one in of_one if one.judged and (one.prompt_id, one.seed) in shared]
        for of_one in (outcomes, read_outcomes(base))
    )
    for term in reward.watched:
        name, better = term_name(term), judges[term.name].higher_is_better
        values, before = ([one.value(name) for one in of_one] for of_one in (judged, judged_then))
        alarms += watched_alarms(name, values, before, better, term.minimum, bounds.watched_drop)
    compared = {name: {"mean": mean, "base": then[name]} for name, mean in now.items()}
    told = [{name: value for name, value in asdict(alarm).items() if value != math.inf} for alarm in alarms]  # JSON
    return {"statistics": compared, "alarms": told}, alarms


def curves(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers to track of an evaluation: image statistics, watched rewards, and 1 for each alarm that is raised."""
    values = {f"image/{name}": one["mean"] for name, one in metrics["statistics"].items()}
    values |= {f"watched/{name}": one["mean"] for name, one in metrics["watched"].items()}
    return values | {f"alarm/{alarm['name']}": 1.0 for alarm in metrics["alarms"]}


def _key(row: Mapping[str, Any]) -> Key:
    return row["prompt_id"], row["seed"]


def _means(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each statistic over the images that have it; one that no image has is left out."""
    kept = list(rows)
    values = {name: [row[name] for row in kept if not math.isnan(row[name])] for name in STATISTICS}
    return {name: statistics.fmean(known) for name, known in values.items() if known}


@dataclass(frozen=True)
class Alarm:
    """One mean that is out of bounds."""

    name: str  # the statistic and where it went, such as 'sharpness_drop', or 'watched/<reward>.<column>'
    value: float  # what it is now
    base: float  # what it is of the base policy, on the same prompts and noise
    change: float  # how far it moved, at least 0, in the unit of the bound
    bound: float  # how far it may
    message: str  # all that in words


_FRACTIONS = ("dark_fraction", "saturated_fraction")
_BOUNDED = [bound for bound in AlarmSettings.model_fields if bound != "watched_drop"]  # such as 'sharpness_drop'


def statistic_alarms(bounds: AlarmSettings, means: Mapping[str, float], base: Mapping[str, float]) -> list[Alarm]:
    """Which statistics are out of bounds, by their means over held-out images and those of the base policy's images on
    the same prompts and noise; one that could not be measured is absent.
    """
    found = []
    for alarm in _BOUNDED:
        name, _, direction = alarm.rpartition("_")
        bound = getattr(bounds, alarm)
        if name not in means or bound is None:
            continue
        value, before = means[name], base[name]
        difference = value - before if direction == "rise" else before - value
        change = difference if name in _FRACTIONS else _part(difference, before)
        if change > bound:
            moved, form = "rose" if direction == "rise" else "fell", ".2f" if name in _FRACTIONS else ".0%"
            how_far = f"{change:{form}}, allowed are {bound:{'g' if name in _FRACTIONS else form}}"
            message = f"{name.replace('_', ' ')} {moved} from the base's {before:.3g} to {value:.3g} ({how_far})"
            found.append(Alarm(alarm, value, before, change, bound, message))
    return found


def watched_alarms(
    name: str,
    now: Sequence[float],
    then: Sequence[float],
    higher_is_better: bool,
    minimum: float | None,
    bound: float | None,
) -> list[Alarm]:
    """Whether a watched reward '<reward>.<column>' is out of bounds, by its values of the images and of the base's on
    the same prompts and noise: the mean got worse by more than `bound` standard deviations, or is beyond its minimum.
    """
    mean, base, sign = statistics.fmean(now), statistics.fmean(then), 1 if higher_is_better else -1
    change = _part(sign * (base - mean), statistics.pstdev(then))
    moved = f"watched {name} went from the base's {base:.3g} to {mean:.3g}"
    if bound is not None and change > bound:
        how_far = f"{change:.2f} standard deviations worse, allowed are {bound:g}"
        return [Alarm(f"watched/{name}", mean, base, change, bound, f"{moved} ({how_far})")]
    if minimum is not None and (beyond := sign * (minimum - mean)) > 0:
        return [Alarm(f"watched/{name}", mean, base, beyond, 0.0, f"{moved}, beyond its minimum {minimum:g}")]
    return []


def _part(difference: float, base: float) -> float:
    """The difference as a part of the base's value; any rise from 0 is beyond all bounds."""
    if base == 0:
        return math.inf if difference > 0 else 0.0
    return difference / base
