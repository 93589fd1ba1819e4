"""Scoring under the failure rules: a reward that fails, or gives what it did not declare, names the sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advantageflow.errors import DataError, RewardError, UserError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, Reward, SampleError
from advantageflow.rewards.plumbing.guard import GuardedReward, RewardStopped
from advantageflow.rewards.plumbing.results import place_of, to_results

if TYPE_CHECKING:
    import numpy as np


def score_images(
    reward: Reward, prompts: Sequence[Prompt], images: Sequence[np.ndarray], samples: Sequence[str]
) -> list[Result]:
    """Score a batch and check what comes back.

    Args:
        reward: the scorer.
        prompts: the prompt of each image.
        images: uint8 arrays (H, W, 3).
        samples: what to call each image in an error, such as its rollout_id.

    Raises:
        RewardError: the reward raised, or gave other than one finite value in its declared range for each column;
            names the sample.
        RewardStopped: its process hung, took too much memory or ended.
    """
    if isinstance(reward, GuardedReward):
        return reward.score_samples(prompts, images, samples)
    try:
        results = reward.score(prompts, images)
    except Exception as error:
        if isinstance(error, SampleError) and error.sample is not None:
            raise _failure(error, _named(reward, samples[error.sample], prompts[error.sample])) from error
        _score_one_by_one(reward, prompts, images, samples)
        where = f"{place_of(reward, samples[0])} .. {samples[-1]} (the batch fails, each alone does not)"
        raise _failure(error, where) from error
    return to_results(reward, samples, results)


def score_each(
    reward: Reward, prompts: Sequence[Prompt], images: Sequence[np.ndarray], samples: Sequence[str]
) -> list[Result | RewardError]:
    """As score_images; where the batch fails, each image is scored alone, and one that fails has its error instead.

    Raises:
        RewardStopped: the reward's process hung, took too much memory or ended, which is no matter of one image.
    """
    try:
        return [*score_images(reward, prompts, images, samples)]
    except RewardStopped:
        raise
    except RewardError:
        return [_alone(reward, *one) for one in zip(prompts, images, samples, strict=True)]


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


def _alone(reward: Reward, prompt: Prompt, image: np.ndarray, sample: str) -> Result | RewardError:
    try:
        return score_images(reward, [prompt], [image], [sample])[0]
    except RewardStopped:
        raise
    except RewardError as error:
        return error


def _named(reward: Reward, sample: str, prompt: Prompt) -> str:
    return place_of(reward, f"{sample} ('{prompt.text}')")


def _score_one_by_one(
    reward: Reward, prompts: Sequence[Prompt], images: Sequence[np.ndarray], samples: Sequence[str]
) -> None:
    """Raise a RewardError that names the sample, if one fails alone as it did in its batch."""
    for prompt, image, sample in zip(prompts, images, samples, strict=True):
        try:
            reward.score([prompt], [image])
        except Exception as error:
            raise _failure(error, _named(reward, sample, prompt)) from error


def _failure(error: Exception, where: str) -> RewardError:
    if isinstance(error, UserError):
        place = f"{where}, {error.where}" if error.where else where
        return RewardError(error.message, where=place, remedy=error.remedy)
    remedy = "see the reward's own error; mend the reward or leave the prompt out, then run again with --resume"
    return RewardError(f"failed: {type(error).__name__}: {error}", where=where, remedy=remedy)
