"""Images by all rewards of a run; one that a reward cannot score stops it or, where settings say so, is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advantageflow.errors import RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, Reward
from advantageflow.rewards.plumbing.checks import score_each, score_images
from advantageflow.settings import RewardSettings
from advantageflow.tracking.journal import Journal

if TYPE_CHECKING:
    import numpy as np

ALARM = "dropped"


def score_all(
    settings: RewardSettings,
    rewards: Mapping[str, Reward],
    prompts: Sequence[Prompt],
    images: Sequence[np.ndarray],
    samples: Sequence[str],
) -> list[dict[str, Result] | RewardError]:
    """The results of each sample by reward; with on_error 'drop', the error of one that a reward cannot score.

    Raises:
        RewardError: a reward failed, with on_error 'fail' or for no image of its own; names the sample.
    """
    score = score_each if settings.on_error == "drop" else score_images
    by_reward = {name: score(reward, prompts, images, samples) for name, reward in rewards.items()}
    return [
        _of_sample({name: results[number] for name, results in by_reward.items()}) for number in range(len(samples))
    ]


def tell_dropped(
    settings: RewardSettings, errors: Sequence[RewardError], images: int, journal: Journal, step: int
) -> None:
    """Raise an alarm for the images of a task that are left out, if there are any.

    Raises:
        RewardError: they are more than the settings allow (one always may be).
    """
    if not errors:
        return
    first = f"{errors[0].where}: {errors[0].message}"
    many = f"{len(errors)} of {images} images could not be scored"
    if len(errors) > max(1, settings.most_dropped * images):
        message = f"{many}, more than a share of {settings.most_dropped:g} (reward.most_dropped); the first: "
        raise RewardError(message + errors[0].message, where=errors[0].where, remedy=errors[0].remedy)
    journal.alarm(ALARM, f"{many} and are left out; the first: {first}", step)


def _of_sample(results: Mapping[str, Result | RewardError]) -> dict[str, Result] | RewardError:
    scored = {name: result for name, result in results.items() if not isinstance(result, RewardError)}
    errors = [result for result in results.values() if isinstance(result, RewardError)]
    return errors[0] if errors else scored
