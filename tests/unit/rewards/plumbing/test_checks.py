"""A reward that fails or leaves its range names the sample, no failure becomes a score; pictures have bounds."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from advantageflow.errors import DataError, RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.plumbing.checks import identical_columns, score_images
from advantageflow.rewards.plumbing.results import MOST_PIXELS, decode_image


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


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (13_000, 13_000), (4097, 4096), (2**31 - 1, 2**31 - 1)])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(size: tuple[int, int]) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"more than 16,777,216|exceeds limit|cannot identify"):
        decode_image(png_header(*size))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MOST_PIXELS


def test_other_modes_become_rgb() -> None:
    out = io.BytesIO()
    Image.new("LA", (3, 2), (7, 255)).save(out, format="PNG")
    assert np.array_equal(decode_image(out.getvalue()), np.full((2, 3, 3), 7, np.uint8))
