"""A reward that fails or leaves its declared range names the sample; no failure becomes a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from advantageflow.errors import DataError, RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.plumbing.checks import identical_columns, score_images


class Brightness:
    """Brightness in [0, 1]; fails on black images, alone or only in company, as its `failure` says."""

    name = "brightness"
    version = "2"
    columns: ClassVar = {"mean": (0.0, 1.0)}
    higher_is_better = True

    def __init__(self, failure: Exception | None = None, *, only_in_batches: bool = False) -> None:
        self.failure, self.only_in_batches = failure, only_in_batches

    def check(self, prompt: Prompt) -> None:
        pass

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        results: list[Result] = []
        for image in images:
            if self.failure and not image.any() and not (self.only_in_batches and len(images) == 1):
                raise self.failure
            results.append(({"mean": image.mean() / 255}, {}))
        return results


SAMPLES = ["1-aa-0", "1-aa-1", "1-bb-0"]
PROMPTS = [Prompt(text, "train", "all") for text in ("a cat", "a cat", "a dog")]
IMAGES = [np.full((2, 2, 3), value, dtype=np.uint8) for value in (255, 51, 0)]


def test_good_scores_pass() -> None:
    values = [values["mean"] for values, _ in score_images(Brightness(), PROMPTS, IMAGES, SAMPLES)]
    assert values == pytest.approx([1.0, 0.2, 0.0])


def test_a_reward_that_raises_names_the_sample_and_its_prompt() -> None:
    with pytest.raises(RewardError, match="ZeroDivisionError: no light") as caught:
        score_images(Brightness(ZeroDivisionError("no light")), PROMPTS, IMAGES, SAMPLES)
    assert caught.value.where == "reward 'brightness' 2, sample 1-bb-0 ('a dog')"


def test_a_users_error_in_a_reward_keeps_its_place_and_remedy() -> None:
    error = DataError("no object", where="include[0]", remedy="name one")
    with pytest.raises(RewardError, match="no object") as caught:
        score_images(Brightness(error), PROMPTS, IMAGES, SAMPLES)
    assert caught.value.where.endswith("sample 1-bb-0 ('a dog'), include[0]")
    assert caught.value.remedy == "name one"


def test_a_reward_that_fails_only_on_the_batch_names_the_batch() -> None:
    with pytest.raises(RewardError, match="out of memory") as caught:
        score_images(Brightness(MemoryError("out of memory"), only_in_batches=True), PROMPTS, IMAGES, SAMPLES)
    assert "1-aa-0 .. 1-bb-0" in caught.value.where


@pytest.mark.parametrize(("scores", "alarm"), [([0.5, 0.5, 0.5], True), ([0.5, 0.5, 0.4], False), ([0.5], False)])
def test_scores_that_are_all_the_same_raise_the_alarm(scores: list[float], alarm: bool) -> None:
    assert identical_columns([{"mean": score} for score in scores]) == {"mean": alarm}


def test_no_scores_raise_no_alarm() -> None:
    assert identical_columns([]) == {}
