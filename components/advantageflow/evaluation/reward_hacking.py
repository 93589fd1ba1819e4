"""Reward-hacking metrics of an evaluation: statistics of its images and watched rewards, held against the base's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.errors import DataError
from advantageflow.evaluation.plan import Shot
from advantageflow.evaluation.report import read_outcomes, read_statistics
from advantageflow.evaluation.statistics import Outcome
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.settings import AlarmSettings, RewardSettings
from advantageflow.watch.alarms import Alarm, Watched, find_alarms
from advantageflow.watch.images import STATISTICS, diversity, image_statistics, thumbnail

if TYPE_CHECKING:
    from advantageflow.watch.images import Image

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
    before = read_statistics(base)
    shared = {_key(row) for row in rows} & {_key(row) for row in before}
    if not shared:
        remedy = "compare evaluations of one run's prompts, with equal seed"
        raise DataError("the base's report has none of the images of this evaluation", where=str(base), remedy=remedy)
    now, then = (_means(row for row in of_one if _key(row) in shared) for of_one in (rows, before))
    watched = _watched(reward, judges, outcomes, base, shared)
    alarms = find_alarms(bounds, now, then, watched)
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


def _watched(
    reward: RewardSettings, judges: Mapping[str, Reward], outcomes: Sequence[Outcome], base: Path, shared: set[Key]
) -> dict[str, Watched]:
    if not reward.watched:
        return {}
    now, then = (
        [one for one in of_one if one.judged and (one.prompt_id, one.seed) in shared]
        for of_one in (outcomes, read_outcomes(base))
    )
    watched = {}
    for term in reward.watched:
        name = term_name(term)
        values, before = [one.value(name) for one in now], [one.value(name) for one in then]
        mean, base_mean, base_std = statistics.fmean(values), statistics.fmean(before), statistics.pstdev(before)
        watched[name] = Watched(mean, base_mean, base_std, judges[term.name].higher_is_better, term.minimum)
    return watched
