"""The layout reward: standing out and standing in the middle, and nothing for pictures that show no figure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advantageflow.records import Prompt
from advantageflow.rewards.layout import LayoutReward
from advantageflow.rewards.plumbing.results import to_results
from advantageflow.shapes.scenes import BACKGROUND, Scene, SceneObject, render

PROMPT = Prompt("anything", "train", "all")
NOTHING = {"contrast": 0.0, "centring": 0.0, "beauty": 0.0}


def values(image: np.ndarray) -> dict[str, float]:
    (result, _), *_ = LayoutReward().score([PROMPT], [image])
    return result


def scene(color: str = "blue", x: float = 24, y: float = 24, shape: str = "square") -> np.ndarray:
    return render(Scene((SceneObject(shape, color, x, y),)))


def test_darker_objects_on_a_light_ground_have_more_contrast() -> None:
    contrasts = [values(scene(color))["contrast"] for color in ("pink", "yellow", "blue", "black")]
    assert contrasts == sorted(contrasts)
    assert contrasts[0] < 0.5 < contrasts[-1]


def test_black_on_white_is_the_highest_contrast_there_is() -> None:
    image = np.full((40, 40, 3), 255, dtype=np.uint8)
    image[10:30, 10:30] = 0
    assert values(image) == {"contrast": 1.0, "centring": 1.0, "beauty": 1.0}


def test_contrast_is_measured_against_the_ground_that_a_picture_has() -> None:
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    image[10:30, 10:30] = 255
    assert values(image)["contrast"] == 1.0


def test_centring_falls_with_the_distance_from_the_middle() -> None:
    measured = [values(scene(x=x, y=x))["centring"] for x in (24, 20, 14, 8)]
    assert measured[0] == pytest.approx(1, abs=0.01)
    assert measured == sorted(measured, reverse=True)
    # 16 of 24 pixels towards the corner, of a half diagonal that is 24 in each direction.
    assert measured[-1] == pytest.approx(1 - 16 / 24, abs=0.02)


def test_objects_that_balance_each_other_are_centred() -> None:
    image = render(Scene((SceneObject("circle", "red", 8, 24), SceneObject("circle", "red", 40, 24))))
    assert values(image)["centring"] == pytest.approx(1, abs=0.01)


def test_beauty_is_the_product_of_the_two() -> None:
    measured = values(scene("red", x=12))
    assert measured["beauty"] == pytest.approx(measured["contrast"] * measured["centring"])


@pytest.mark.parametrize("ground", [(128, 128, 128), (0, 0, 0), BACKGROUND])
def test_blank_pictures_get_the_lowest_value(ground: tuple[int, int, int]) -> None:
    image = np.full((48, 48, 3), 0, dtype=np.uint8) + np.array(ground, dtype=np.uint8)
    assert values(image) == NOTHING


def test_specks_are_no_objects_and_change_nothing_beside_one() -> None:
    specks = np.full((48, 48, 3), 255, dtype=np.uint8)
    specks[::7, ::7] = 0
    assert values(specks) == NOTHING
    clean, speckled = scene(), scene()
    speckled[2, 2] = speckled[45, 3] = 0
    assert values(speckled) == values(clean)


def test_noise_is_no_composition() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert values(noise) == NOTHING


def test_details_say_where_the_foreground_is() -> None:
    (_, details), (_, blank) = LayoutReward().score([PROMPT] * 2, [scene(x=36), np.zeros((9, 9, 3), np.uint8)])
    assert details["centre"] == pytest.approx([36 / 48, 24 / 48], abs=0.01)
    assert 0.03 < details["foreground"] < 0.1
    assert blank == {"foreground": 0.0, "centre": None}


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40), st.integers(2, 6))
def test_scores_stay_in_the_declared_range(seed: int, height: int, width: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, levels, (height // 8 + 1, width // 8 + 1, 3)) * (255 // (levels - 1))
    image = np.kron(coarse, np.ones((8, 8, 1), dtype=int))[:height, :width].astype(np.uint8)
    to_results(LayoutReward(), ["x"], LayoutReward().score([PROMPT], [image]))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_no_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected an RGB image"):
        LayoutReward().score([PROMPT], [image])
