"""Scoring under the failure rules: a reward that fails, or gives what it did not declare, names the sample.

Where settings say so (`on_error: drop`), an image that a reward cannot score is left out instead of stopping the run.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from advantageflow.errors import DataError, RewardError, UserError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, Reward, RewardStopped
from advantageflow.rewards.plumbing.guard import GuardedReward
from advantageflow.rewards.plumbing.results import place_of, to_results
from advantageflow.settings_stages import RewardSettings
from advantageflow.tracking.journal import Journal

ALARM = "dropped"


def score_images(
    reward: Reward, prompts: Sequence[Prompt], images: Sequence[np.ndarray], samples: Sequence[str]
) -> list[Result]:
    """Score a batch of images (H, W, 3), uint8, and check what comes back.

    Args:
        samples: what to call each image in an error, such as its rollout_id.

    Raises:
        RewardError: the reward raised, or gave other than one finite value in its declared range for each column;
            names the sample.
        RewardStopped: its process hung, took too much memory or ended.
    """
    if isinstance(reward, GuardedReward):
        return reward.score_samples(prompts, images, samples)
    if hasattr(reward, "score_each"):
        results = []
        for one in _one_by_one(reward, prompts, images, samples):
            if isinstance(one, RewardError):
                raise one
            results.append(one)
        return results
    try:
        given = reward.score(prompts, images)
    except RewardStopped:
        raise
    except Exception as error:
        for prompt, image, sample in zip(prompts, images, samples, strict=True):
            try:
                reward.score([prompt], [image])
            except Exception as alone:
                raise _failure(alone, _named(reward, sample, prompt)) from alone
        where = f"{place_of(reward, samples[0])} .. {samples[-1]} (the batch fails, each alone does not)"
        raise _failure(error, where) from error
    return to_results(reward, samples, given)


def score_each(
    reward: Reward, prompts: Sequence[Prompt], images: Sequence[np.ndarray], samples: Sequence[str]
) -> list[Result | RewardError]:
    """As score_images, with the error of an image that cannot be scored; a batch that fails is scored one by one.
    Raises RewardStopped: no image can be scored for now.
    """
    if hasattr(reward, "score_each"):
        return list(_one_by_one(reward, prompts, images, samples))
    try:
        return [*score_images(reward, prompts, images, samples)]
    except RewardStopped:
        raise
    except RewardError as error:
        if len(samples) == 1:
            return [error]
        return [score_each(reward, [p], [i], [s])[0] for p, i, s in zip(prompts, images, samples, strict=True)]


def score_all(
    settings: RewardSettings,
    rewards: Mapping[str, Reward],
    prompts: Sequence[Prompt],
    images: Sequence[np.ndarray],
    samples: Sequence[str],
) -> list[dict[str, Result] | RewardError]:
    """The results of each sample by reward; with on_error 'drop', the error of one that a reward cannot score.
    Raises RewardError: a reward failed, with on_error 'fail' or for no image of its own; names the sample.
    """
    score = score_each if settings.on_error == "drop" else score_images
    by_reward = {name: score(reward, prompts, images, samples) for name, reward in rewards.items()}
    results: list[dict[str, Result] | RewardError] = []
    for of_sample in zip(*by_reward.values(), strict=True):
        errors = [one for one in of_sample if isinstance(one, RewardError)]
        scored = {name: one for name, one in zip(by_reward, of_sample, strict=True) if not isinstance(one, RewardError)}
        results.append(errors[0] if errors else scored)
    return results


def check_dropped(settings: RewardSettings, errors: Sequence[RewardError], images: int) -> None:
    """Raise a RewardError if more of a task's images are left out than settings allow (one always may be)."""
    if len(errors) > max(1, settings.most_dropped * images):
        first, share = errors[0], f"a share of {settings.most_dropped:g} (reward.most_dropped)"
        message = f"{len(errors)} of {images} images could not be scored, more than {share}; the first: {first.message}"
        raise RewardError(message, where=first.where, remedy=first.remedy)


def tell_dropped(
    settings: RewardSettings, errors: Sequence[RewardError], images: int, journal: Journal, step: int
) -> None:
    """Raise an alarm for the images of a task that are left out, if there are any; raises as check_dropped."""
    check_dropped(settings, errors, images)
    if errors:
        many, first = f"{len(errors)} of {images} images could not be scored", f"{errors[0].where}: {errors[0].message}"
        journal.alarm(ALARM, f"{many} and are left out; the first: {first}", step)


def check_readable(reward: Reward, prompt: Prompt) -> None:
    """Ask a reward whether it can read a prompt's spec.

    Raises:
        DataError: it cannot.
        RewardError: its check() failed otherwise than by refusing the prompt.
    """
    try:
        reward.check(prompt)
    except (DataError, RewardError):
        raise
    except Exception as error:
        message = f"check() failed for prompt '{prompt.text}': {type(error).__name__}: {error}"
        remedy = "mend the reward: check() raises DataError for a prompt that it cannot read, and nothing else"
        raise RewardError(message, where=place_of(reward), remedy=remedy) from error


def identical_columns(scores: Sequence[Mapping[str, float]]) -> dict[str, bool]:
    """By column, whether two or more scores are all the same: a sign of a broken reward or a collapsed policy."""
    columns = scores[0] if scores else {}
    return {column: len(scores) > 1 and len({values[column] for values in scores}) == 1 for column in columns}


def _one_by_one(
    reward: Any, prompts: Sequence[Prompt], images: Sequence[np.ndarray], samples: Sequence[str]
) -> Iterator[Result | RewardError]:
    """What a reward that has `score_each` gives, checked, errors with the sample's name."""
    for prompt, sample, one in zip(prompts, samples, reward.score_each(prompts, images), strict=True):
        try:
            yield (
                _failure(one, _named(reward, sample, prompt))
                if isinstance(one, RewardError)
                else to_results(reward, [sample], [one])[0]
            )
        except RewardError as error:
            yield error


def _named(reward: Reward, sample: str, prompt: Prompt) -> str:
    return place_of(reward, f"{sample} ('{prompt.text}')")


def _failure(error: Exception, where: str) -> RewardError:
    if isinstance(error, UserError):
        place = f"{where}, {error.where}" if error.where else where
        return RewardError(error.message, where=place, remedy=error.remedy)
    remedy = "see the reward's own error; mend the reward or leave the prompt out, then run again with --resume"
    if "'Prompt' object" in str(error) or "type 'Prompt'" in str(error):
        remedy = "a prompt is an object: what it says is prompt.text, prompt.task and prompt.spec"
    return RewardError(f"failed: {type(error).__name__}: {error}", where=where, remedy=remedy)
