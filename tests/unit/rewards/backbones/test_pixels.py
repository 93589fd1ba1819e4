"""What vision encoders are given: sizes, borders, colours and values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from advantageflow.rewards.backbones.pixels import CLIP_MEAN, CLIP_STD, centre_square, padded_square, processed

SIDE = 24


def colours(pixels: torch.Tensor) -> torch.Tensor:
    """Back to 0..1."""
    return pixels * torch.tensor(CLIP_STD)[:, None, None] + torch.tensor(CLIP_MEAN)[:, None, None]


def plain(height: int, width: int, colour: tuple[int, int, int] = (255, 128, 0)) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 80), st.integers(1, 80))
def test_every_shape_becomes_a_square_and_keeps_its_colour(height: int, width: int) -> None:
    orange = torch.tensor([1, 128 / 255, 0])[:, None, None]
    cut = colours(centre_square([plain(height, width)], SIDE))
    torch.testing.assert_close(cut[0], orange.expand(3, SIDE, SIDE), atol=1e-5, rtol=0)
    padded = colours(padded_square([plain(height, width)], SIDE, antialias=True))
    assert padded.shape == (1, 3, SIDE, SIDE)
    middle = padded[0, :, (SIDE - 1) // 2, (SIDE - 1) // 2]
    torch.testing.assert_close(middle, orange[:, 0, 0], atol=1e-4, rtol=0)


def test_the_whole_picture_is_kept_between_black_borders() -> None:
    picture = colours(padded_square([plain(10, 20)], 20, antialias=True))[0]
    rows = picture.mean(dim=(0, 2)) > 0.1
    assert rows.tolist() == [False] * 5 + [True] * 10 + [False] * 5


def test_the_centre_is_cut_out_of_the_longer_side() -> None:
    image = np.concatenate([plain(20, 20, (255, 0, 0)), plain(20, 20, (0, 255, 0)), plain(20, 20, (0, 0, 255))], axis=1)
    red, green, blue = colours(centre_square([image], 20))[0].mean(dim=(1, 2)).tolist()
    assert (red, green, blue) == pytest.approx((0, 1, 0), abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (64, 44), (30, 90)])
def test_clips_own_processor_does_the_same_where_rounding_leaves_no_choice(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 20, "width": 20})
    torch.testing.assert_close(processed(processor, [image]), centre_square([image], 20), atol=1e-5, rtol=0)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_no_rgb_image_is_refused(image: np.ndarray) -> None:
    for preprocess in (lambda: centre_square([image], SIDE), lambda: padded_square([image], SIDE, antialias=True)):
        with pytest.raises(ValueError, match="expected an RGB image"):
            preprocess()
