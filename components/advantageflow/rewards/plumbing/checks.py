"""Scoring under the failure rules: a reward that fails, or gives what it did not declare, names the sample."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advantageflow.errors import RewardError, UserError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, Reward, SampleError

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
    """
    try:
        results = reward.score(prompts, images)
    except Exception as error:
        if isinstance(error, SampleError) and error.sample is not None:
            raise _failure(error, _named(reward, samples[error.sample], prompts[error.sample])) from error
        _score_one_by_one(reward, prompts, images, samples)
        where = f"{_place(reward, samples[0])} .. {samples[-1]} (the batch fails, each alone does not)"
        raise _failure(error, where) from error
    check_scores(reward, samples, results)
    return results


def check_scores(reward: Reward, samples: Sequence[str], results: Sequence[Result]) -> None:
    """Hold results to what the reward declares.

    Args:
        reward: the scorer that gave them.
        samples: what to call each sample in an error.
        results: a result for each sample.

    Raises:
        RewardError: their number is wrong, or one has a missing or undeclared column, or a value that is not a
            finite number in the declared range.
    """
    if len(results) != len(samples):
        raise _wrong(reward, "", f"gave {len(results)} scores for {len(samples)} images")
    for sample, (values, _) in zip(samples, results, strict=True):
        if set(values) != set(reward.columns):
            raise _wrong(reward, sample, f"gave columns {sorted(values)}, it declares {sorted(reward.columns)}")
        for column, value in values.items():
            low, high = reward.columns[column]
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise _wrong(reward, sample, f"gave {column} = {value!r}, which is not a number")
            if not math.isfinite(value) or not low <= value <= high:
                raise _wrong(reward, sample, f"gave {column} = {value}, outside its declared range [{low}, {high}]")


def identical_columns(scores: Sequence[Mapping[str, float]]) -> dict[str, bool]:
    """By column, whether two or more scores are all the same: a sign of a broken reward or a collapsed policy."""
    columns = scores[0] if scores else {}
    return {column: len(scores) > 1 and len({values[column] for values in scores}) == 1 for column in columns}


def _wrong(reward: Reward, sample: str, message: str) -> RewardError:
    remedy = "mend the reward, or the range that it declares; a score is never guessed"
    return RewardError(message, where=_place(reward, sample), remedy=remedy)


def _place(reward: Reward, sample: str) -> str:
    place = f"reward '{reward.name}' {reward.version}"
    return f"{place}, sample {sample}" if sample else place


def _named(reward: Reward, sample: str, prompt: Prompt) -> str:
    return _place(reward, f"{sample} ('{prompt.text}')")


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
