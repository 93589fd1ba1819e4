"""Statistics of images: what they say of known pictures, their ranges, and what must not change them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from advantageflow.watch.images import (
    IMAGE_STATISTICS,
    THUMBNAIL,
    RolloutStatistics,
    colour_entropy,
    dark_fraction,
    diversity,
    image_statistics,
    join_summaries,
    saturated_fraction,
    sharpness,
    thumbnail,
)

Image = np.ndarray
IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
RANGES = {"dark_fraction": 1.0, "saturated_fraction": 1.0, "colour_entropy": 9.0, "sharpness": 4.0}


def filled(*colour: int, size: int = 12) -> Image:
    return np.full((size, size, 3), colour, dtype=np.uint8)


def halves(left: Image, right: Image) -> Image:
    return np.concatenate([left, right], axis=1)


def noise(seed: int, size: int = 24) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def smooth(image: Image) -> Image:
    """Each pixel the mean of its 3 x 3 neighbourhood, edges wrapped."""
    shifts = [np.roll(image.astype(float), (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return np.mean(shifts, axis=0).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(IMAGES)
def test_every_statistic_lies_in_its_range(image: Image) -> None:
    values = image_statistics(image)
    assert list(values) == list(IMAGE_STATISTICS)
    assert all(0 <= values[name] <= highest for name, highest in RANGES.items())


@settings(max_examples=40, deadline=None)
@given(IMAGES)
def test_mirroring_changes_no_statistic(image: Image) -> None:
    assert image_statistics(image[:, ::-1]) == pytest.approx(image_statistics(image))
    assert image_statistics(image[::-1]) == pytest.approx(image_statistics(image))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (128, 128, 128), (243, 243, 240)])
def test_a_blank_image_has_neither_colours_nor_edges(colour: tuple[int, int, int]) -> None:
    values = image_statistics(filled(*colour))
    assert (values["colour_entropy"], values["sharpness"]) == (0.0, 0.0)
    assert values["dark_fraction"] == float(colour == (0, 0, 0))
    assert values["saturated_fraction"] == float(colour == (255, 0, 0))


def test_fractions_count_pixels() -> None:
    image = halves(filled(0, 0, 0), halves(filled(0, 0, 255), filled(200, 210, 220)))
    assert dark_fraction(image) == pytest.approx(2 / 3)  # pure blue is dark too: its luma is 29
    assert saturated_fraction(image) == pytest.approx(1 / 3)


def test_colours_in_equal_parts_give_the_logarithm_of_their_number() -> None:
    two = halves(filled(0, 0, 0), filled(255, 0, 0))
    assert colour_entropy(two) == pytest.approx(1.0)
    assert colour_entropy(halves(two, halves(filled(0, 255, 0), filled(0, 0, 255)))) == pytest.approx(2.0)
    assert colour_entropy(halves(filled(0, 0, 0), filled(1, 2, 3))) == 0.0  # the same to the eye


def test_a_chessboard_of_pixels_is_sharpest_and_blur_takes_sharpness() -> None:
    board = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)
    assert sharpness(np.repeat(board[..., None], 3, axis=2)) == pytest.approx(4.0, abs=0.02)
    image = noise(1)
    assert sharpness(image) > 2 * sharpness(smooth(image)) > 0


def test_diversity_is_the_root_mean_square_over_all_pairs() -> None:
    images = [noise(seed, 8) for seed in range(4)]
    squares = [
        ((a.astype(float) - b.astype(float)) ** 2).mean() / 255**2
        for number, a in enumerate(images)
        for b in images[:number]
    ]
    assert diversity(images) == pytest.approx(np.sqrt(np.mean(squares)))


def test_equal_images_have_no_diversity_and_black_and_white_all_of_it() -> None:
    assert diversity([noise(3)] * 3) == pytest.approx(0.0, abs=1e-12)
    assert diversity([filled(0, 0, 0), filled(255, 255, 255)]) == 1.0
    with pytest.raises(ValueError, match="fewer than two"):
        diversity([noise(3)])


@pytest.mark.parametrize("make", [lambda: noise(5, 64), lambda: noise(5, 320), lambda: filled(9, 8, 7, size=50)])
def test_thumbnails_have_one_size_and_keep_the_mean_colour(make: Callable[[], Image]) -> None:
    image = make()
    small = thumbnail(image)
    assert small.shape == (THUMBNAIL, THUMBNAIL, 3)
    assert small.mean((0, 1)) == pytest.approx(image.mean((0, 1)), abs=1.0)


DRAWN = [np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in range(9)]
GROUPS = [f"prompt {number // 3}" for number in range(9)]


def shard(numbers: range) -> dict[str, dict[str, float]]:
    statistics = RolloutStatistics()
    for number in numbers:
        statistics.add(GROUPS[number], DRAWN[number])
    return statistics.summary()


def test_shards_of_any_size_join_to_the_means_over_all_images_and_groups() -> None:
    whole = join_summaries([shard(range(9))])
    assert join_summaries([shard(range(3)), shard(range(3, 9)), shard(range(0))]) == pytest.approx(whole)
    for name in IMAGE_STATISTICS:
        assert whole[name] == pytest.approx(np.mean([image_statistics(image)[name] for image in DRAWN]))
    groups = [[thumbnail(image) for image in DRAWN[start : start + 3]] for start in (0, 3, 6)]
    assert whole["diversity"] == pytest.approx(np.mean([diversity(group) for group in groups]))


def test_an_empty_shard_and_groups_of_one_have_nothing_to_say() -> None:
    assert shard(range(0)) == {}
    assert "diversity" not in shard(range(1))
    assert join_summaries([]) == {}
