"""The reward stage: scores one shard of rollouts. Imports neither torch nor diffusers, unless the reward does."""

from __future__ import annotations

import io
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.errors import DataError
from advantageflow.records import ROLLOUTS_FILE, Prompt, Rollout, Score
from advantageflow.rewards.base import Reward
from advantageflow.rewards.checks import check_column, identical_columns, score_images
from advantageflow.rewards.registry import get_reward
from advantageflow.settings import RewardSettings
from advantageflow.store.artifacts import read_metadata, read_prompts, read_rollouts, write_scores
from advantageflow.tracking.journal import current_journal

if TYPE_CHECKING:
    import numpy as np

BATCH = 64
STRICT = "strict"  # the 0/1 column that GenEval-like rewards have; reported for each task

logger = logging.getLogger(__name__)


def run(settings: RewardSettings, *, prompts: Path, rollouts: Path, scores_out: Path) -> None:
    """Score every rollout of a shard and check what the reward gives.

    Args:
        settings: which reward.
        prompts: the prompts artifact.
        rollouts: the rollouts artifact of the shard, possibly empty.
        scores_out: folder of the scores artifact to write.

    Raises:
        SettingsError: the reward is unknown, or has no such column.
        DataError: a rollout's prompt is unknown, or its image is no picture; names the row.
        RewardError: the reward failed on a sample, or left its declared range; names the sample.
        StoreError: an input is corrupt, or the output cannot be written.
    """
    journal = current_journal()
    reward = get_reward(settings.name)
    check_column(reward, settings.column)
    by_id = {prompt.prompt_id: prompt for prompt in read_prompts(prompts)}
    records = read_rollouts(rollouts)
    source = read_metadata(rollouts)
    table = rollouts / ROLLOUTS_FILE
    prompt_of = [_prompt(by_id, record, f"{table}: row {row}") for row, record in enumerate(records)]

    journal.useful()
    scores: list[Score] = []
    for start in range(0, len(records), BATCH):
        batch = slice(start, start + BATCH)
        images = [_decode(r, f"{table}: row {row}") for row, r in enumerate(records[batch], start=start)]
        scores += _score(reward, prompt_of[batch], records[batch], images)
        journal.progress(len(scores), len(records), "images")

    made_by = {key: source.get(key) for key in ("round", "shard", "shards", "policy_sha256")}
    described = {"reward": reward.name, "version": reward.version, "higher_is_better": reward.higher_is_better}
    write_scores(scores_out, scores, list(reward.columns), made_by | described)
    if scores:
        journal.metrics(_summary([score.rewards for score in scores], prompt_of), step=source.get("round"))


def _prompt(by_id: Mapping[str, Prompt], rollout: Rollout, where: str) -> Prompt:
    if rollout.prompt_id not in by_id:
        remedy = "give the prompts artifact that these rollouts were generated from"
        raise DataError(f"prompt {rollout.prompt_id} is unknown", where=where, remedy=remedy)
    return by_id[rollout.prompt_id]


def _decode(rollout: Rollout, where: str) -> np.ndarray:
    """The image (H, W, 3), uint8."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(rollout.image)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken pictures
        message = f"the image of rollout {rollout.rollout_id} cannot be decoded: {error}"
        raise DataError(message, where=where, remedy="run the rollout task that made it again") from error


def _score(
    reward: Reward, prompts: Sequence[Prompt], rollouts: Sequence[Rollout], images: Sequence[np.ndarray]
) -> list[Score]:
    results = score_images(reward, prompts, images, [rollout.rollout_id for rollout in rollouts])
    return [
        Score(rollout.rollout_id, {column: float(value) for column, value in values.items()}, details, reward.version)
        for rollout, (values, details) in zip(rollouts, results, strict=True)
    ]


def _summary(values: Sequence[Mapping[str, float]], prompts: Sequence[Prompt]) -> dict[str, float]:
    """Mean and spread by column, strict accuracy by task, and the alarm of columns that are all the same."""
    metrics: dict[str, float] = {}
    for column in values[0]:
        numbers = [one[column] for one in values]
        metrics[f"reward/{column}_mean"] = statistics.fmean(numbers)
        metrics[f"reward/{column}_std"] = statistics.pstdev(numbers)
    for column, identical in identical_columns(values).items():
        metrics[f"alarm/{column}_identical"] = float(identical)
        if identical:
            logger.warning("alarm: all %d scores of '%s' are %g", len(values), column, values[0][column])
    if STRICT in values[0]:
        for task in sorted({prompt.task for prompt in prompts}):
            of_task = [one[STRICT] for one, prompt in zip(values, prompts, strict=True) if prompt.task == task]
            metrics[f"reward/{STRICT}/{task}"] = statistics.fmean(of_task)
    return metrics
