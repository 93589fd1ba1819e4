"""The OCR reward reads text as Pillow draws it, and scores what is missing by edit distance; it never guesses."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from advantageflow.errors import DataError, RewardError, SettingsError
from advantageflow.records import Prompt
from advantageflow.rewards.ocr import OcrReward, accuracy, target
from advantageflow.rewards.plumbing.checks import score_images
from advantageflow.rewards.plumbing.registry import get_reward

FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"


def prompt(text: str) -> Prompt:
    return Prompt(text, "train", "ocr")


def drawn(*lines: str, font: str = "DejaVuSans.ttf", size: int = 24, side: int = 192) -> np.ndarray:
    image = Image.new("RGB", (side, side), (250, 250, 245))
    face = ImageFont.truetype(FONTS / font, size)
    for number, line in enumerate(lines):
        place = (side / 2, side * (number + 0.5) / len(lines))
        ImageDraw.Draw(image).text(place, line, font=face, fill=(20, 20, 90), anchor="mm")
    return np.asarray(image)


@pytest.fixture(scope="module")
def reward() -> OcrReward:
    return OcrReward()


@cache
def read(reward: OcrReward, wanted: str, *lines: str, font: str = "DejaVuSans.ttf", size: int = 24) -> float:
    image = drawn(*lines, font=font, size=size)
    (values, _), *_ = score_images(reward, [prompt(f'a sign that says "{wanted}"')], [image], ["x"])
    return values["accuracy"]


@pytest.mark.parametrize(
    ("font", "size"),
    [("DejaVuSans.ttf", 18), ("DejaVuSerif-Bold.ttf", 24), ("DejaVuSansMono-Oblique.ttf", 22), ("STIXGeneral.ttf", 30)],
)
def test_text_in_several_fonts_and_sizes_is_read(reward: OcrReward, font: str, size: int) -> None:
    assert read(reward, "Open Today", "Open Today", font=font, size=size) == 1.0


def test_two_lines_are_joined_and_spaces_and_case_do_not_count(reward: OcrReward) -> None:
    assert read(reward, "coffee house", "COFFEE", "House") == 1.0
    assert read(reward, "House", "COFFEE", "House") == 1.0  # a part of what is read


def test_a_wrong_letter_costs_its_share(reward: OcrReward) -> None:
    assert read(reward, "HOUSE", "MOUSE") == pytest.approx(1 - 1 / 5)


def test_a_picture_without_text_has_nothing_right_and_says_so(reward: OcrReward) -> None:
    (values, details), *_ = reward.score([prompt('the word "HOUSE"')], [np.full((64, 64, 3), 255, np.uint8)])
    assert values == {"accuracy": 0.0}
    assert details == {"read": [], "target": "house"}


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ("house", "greenhouse", 1.0),
        ("house", "HO USE", 1.0),
        ("house", "hous", 1 - 1 / 5),
        ("house", "", 0.0),
        ("ab", "completelyother", 0.0),  # the distance counts up to the target's length
    ],
)
def test_accuracy_is_a_substring_or_an_edit_distance(wanted: str, found: str, expected: float) -> None:
    assert accuracy(wanted, found) == pytest.approx(expected)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=12).filter(lambda text: text.split()), st.text(max_size=12))
def test_accuracy_stays_in_its_range(wanted: str, found: str) -> None:
    wanted = target(Prompt("x", "train", "ocr", {"text": wanted}))
    assert 0 <= accuracy(wanted, found) <= 1
    assert accuracy(wanted, f"{found}{wanted}") == 1


def test_the_target_is_the_spec_s_text_or_else_the_first_quoted_span() -> None:
    assert target(prompt('"Hello There" beside "other"')) == "hellothere"
    assert target(Prompt('"Hello" beside it', "train", "ocr", {"text": "Good Bye"})) == "goodbye"


@pytest.mark.parametrize("text", ["a red cat", 'the word ""', 'a 5" nail', "the word “house”"])
def test_a_prompt_that_quotes_nothing_is_refused_and_named(reward: OcrReward, text: str) -> None:
    with pytest.raises(DataError, match="quotes no text") as caught:
        reward.check(prompt(text))
    assert caught.value.where == f"prompt '{text}'"
    with pytest.raises(RewardError, match="quotes no text") as failed:
        score_images(reward, [prompt(text)], [np.zeros((8, 8, 3), np.uint8)], ["1-a-0"])
    assert "sample 1-a-0" in failed.value.where


@pytest.mark.parametrize("text", ["", "  ", 5, None])
def test_a_spec_whose_text_is_none_is_refused(reward: OcrReward, text: object) -> None:
    with pytest.raises(DataError, match="'text' is"):
        reward.check(Prompt('"a"', "train", "ocr", {"text": text}))


def test_a_missing_gpu_is_an_error_and_never_the_cpu(reward: OcrReward) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is a GPU")
    with pytest.raises(RewardError, match="no GPU for the recogniser"):
        OcrReward(device="cuda").score([prompt('"a"')], [np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(SettingsError, match="does not fit the option 'device'"):
        get_reward("ocr", {"device": "gpu"})


def test_the_version_has_a_hash_of_the_models(reward: OcrReward) -> None:
    assert reward.version.startswith("1 (rapidocr 3.")
    assert len(reward.version.partition("models ")[2].rstrip(")")) == 12
