"""The reward stage: scores one shard of rollouts. Imports neither torch nor diffusers, unless the reward does."""

import itertools
import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from advantageflow.errors import DataError, RewardError
from advantageflow.records import ROLLOUTS_FILE, Prompt, Rollout, Score
from advantageflow.rewards.base import ACCURACIES, Result, Reward
from advantageflow.rewards.plumbing.checks import check_dropped, identical_columns, score_all, tell_dropped
from advantageflow.rewards.plumbing.results import decode_image
from advantageflow.rewards.plumbing.terms import score_column, score_columns, term_rewards
from advantageflow.settings import RewardSettings
from advantageflow.store.files import read_metadata
from advantageflow.store.prompts import read_prompts
from advantageflow.store.rollouts import DROPPED_KEY, IMAGE_STATISTICS_KEY, read_images, read_rollouts, write_scores
from advantageflow.tracking.journal import current_journal
from advantageflow.watch.images import RolloutStatistics

BATCH = 64
Sample = tuple[Prompt, Rollout, "np.ndarray"]
Scored = tuple[list[Score], RolloutStatistics, dict[str, RewardError]]

logger = logging.getLogger(__name__)


def run(settings: RewardSettings, *, prompts: Path, rollouts: Path, scores_out: Path) -> None:
    """Score every rollout of a shard by the reward of each term, and check what the rewards give.

    Args:
        rollouts: the rollouts artifact of the shard, possibly empty.
        scores_out: folder of the scores artifact to write.

    Raises:
        SettingsError: a term's reward is unknown, or has no such column.
        DataError: a rollout's prompt is unknown, or its image is not a picture; names the row.
        RewardError: a reward failed on a sample, or left its declared range; names the sample.
        StoreError: an input is corrupt, or the output cannot be written.
    """
    rewards = term_rewards(settings)
    by_id = {prompt.prompt_id: prompt for prompt in read_prompts(prompts)}
    records, table = read_rollouts(rollouts), rollouts / ROLLOUTS_FILE
    for row, record in enumerate(records):
        if record.prompt_id not in by_id:
            remedy = "give the prompts artifact that these rollouts were generated from"
            raise DataError(f"prompt {record.prompt_id} is unknown", where=f"{table}: row {row}", remedy=remedy)
    prompt_of = [by_id[record.prompt_id] for record in records]

    current_journal().useful()
    images = (_decode(*one, f"{table}: row {row}") for row, one in enumerate(read_images(rollouts)))
    samples = zip(prompt_of, records, images, strict=True)
    scored = score_rollouts(settings, rewards, samples, len(records))
    write_scored(settings, rewards, scored, by_id, rollouts, scores_out)


def write_scored(
    settings: RewardSettings,
    rewards: Mapping[str, Reward],
    scored: Scored,
    by_id: Mapping[str, Prompt],
    rollouts: Path,
    scores_out: Path,
) -> None:
    """Write the scores of a shard, and tell what they are like.

    Raises:
        RewardError: more of its images have no score than the settings allow.
        StoreError: the output cannot be written.
    """
    scores, pictures, dropped = scored
    journal, source, records = current_journal(), read_metadata(rollouts), read_rollouts(rollouts)
    tell_dropped(settings, list(dropped.values()), len(records), journal, source.get("round") or 0)
    made_by = {key: source.get(key) for key in ("round", "shard", "shards", "policy_sha256")}
    by_name = {
        name: {"version": one.version, "higher_is_better": one.higher_is_better} for name, one in rewards.items()
    }
    described = made_by | {"rewards": by_name, IMAGE_STATISTICS_KEY: pictures.summary()}
    described |= {DROPPED_KEY: list(dropped)} if dropped else {}
    write_scores(scores_out, scores, score_columns(settings, rewards), described)
    if scores:
        prompts = [by_id[one.prompt_id] for one in records if one.rollout_id not in dropped]
        journal.metrics(score_summary([score.rewards for score in scores], prompts), step=source.get("round"))


def score_rollouts(
    settings: RewardSettings, rewards: Mapping[str, Reward], samples: Iterable[Sample], total: int
) -> Scored:
    """The score of each rollout by all rewards, what the images look like, and why some have no score, by id.

    Samples are rollouts with their prompts and images, (H, W, 3) uint8; taken as they are needed. Raises RewardError: a
    reward failed on a sample, or left its declared range; names the sample.
    """
    scores: list[Score] = []
    dropped: dict[str, RewardError] = {}
    pictures, taken, done = RolloutStatistics(), iter(samples), 0
    while batch := list(itertools.islice(taken, BATCH)):
        prompts, rollouts, images = zip(*batch, strict=True)
        results = score_all(settings, rewards, prompts, images, [one.rollout_id for one in rollouts])
        for rollout, image, result in zip(rollouts, images, results, strict=True):
            pictures.add(rollout.prompt_id, image)
            if isinstance(result, RewardError):
                dropped[rollout.rollout_id] = result
            else:
                scores.append(Score(rollout.rollout_id, *_joined(settings, result), _version(rewards)))
        check_dropped(settings, list(dropped.values()), total)
        done += len(batch)
        current_journal().progress(done, total, "images scored")
    return scores, pictures, dropped


def _decode(rollout: Rollout, png: bytes, where: str) -> np.ndarray:
    """The image (H, W, 3), uint8."""
    try:
        return decode_image(png)
    except ValueError as error:
        message = f"the image of rollout {rollout.rollout_id} cannot be decoded: {error}"
        raise DataError(message, where=where, remedy="run the rollout task that made it again") from error


def _joined(settings: RewardSettings, results: Mapping[str, Result]) -> Result:
    """The results of all rewards for one image as one: details by reward; those of a single reward as it gave them."""
    values = {
        score_column(settings, name, column): value
        for name, (columns, _) in results.items()
        for column, value in columns.items()
    }
    by_name = {name: details for name, (_, details) in results.items()}
    return values, by_name if len(by_name) > 1 else by_name[settings.name]


def _version(rewards: Mapping[str, Reward]) -> str:
    """The versions of all rewards; of a single one as it is."""
    if len(rewards) == 1:
        return next(iter(rewards.values())).version
    return "; ".join(f"{name} {reward.version}" for name, reward in rewards.items())


def score_summary(values: Sequence[Mapping[str, float]], prompts: Sequence[Prompt]) -> dict[str, float]:
    """Mean and spread by column, accuracies by task, and the alarm of columns that are all the same."""
    metrics: dict[str, float] = {}
    for column in values[0]:
        numbers = [one[column] for one in values]
        metrics[f"reward/{column}_mean"] = statistics.fmean(numbers)
        metrics[f"reward/{column}_std"] = statistics.pstdev(numbers)
    for column, identical in identical_columns(values).items():
        metrics[f"alarm/{column}_identical"] = float(identical)
        if identical:
            logger.warning("alarm: all %d scores of '%s' are %g", len(values), column, values[0][column])
    for column in (one for one in ACCURACIES if one in values[0]):
        for task in sorted({prompt.task for prompt in prompts}):
            of_task = [one[column] for one, prompt in zip(values, prompts, strict=True) if prompt.task == task]
            metrics[f"reward/{column}/{task}"] = statistics.fmean(of_task)
    return metrics
