"""The JPEG reward orders images by how well they compress."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from advantageflow.records import Prompt
from advantageflow.rewards.jpeg import JpegReward
from advantageflow.rewards.plumbing.results import to_results

PROMPT = Prompt("anything", "train", "all")


def noise(seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_a_flat_image_scores_higher_than_noise() -> None:
    flat = np.full((48, 48, 3), 128, dtype=np.uint8)
    (flat_values, _), (noise_values, _) = JpegReward().score([PROMPT] * 2, [flat, noise(0, 48)])
    assert flat_values["compressibility"] > noise_values["compressibility"] + 1
    assert flat_values["incompressibility"] < noise_values["incompressibility"] - 1


def test_the_value_is_the_size_of_the_file_in_kilobytes() -> None:
    image = noise(1, 48)
    (values, details), *_ = JpegReward().score([PROMPT], [image])
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=95)
    assert details == {"bytes": len(buffer.getvalue())}
    assert values == {"compressibility": -details["bytes"] / 1000, "incompressibility": details["bytes"] / 1000}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 64))
def test_scores_stay_in_the_declared_range(seed: int, side: int) -> None:
    to_results(JpegReward(), ["x"], JpegReward().score([PROMPT], [noise(seed, side)]))


def test_noise_of_the_largest_size_stays_in_the_declared_range() -> None:
    tile = noise(2, 256)
    (values, _), *_ = JpegReward().score([PROMPT], [tile])
    # Independent noise compresses block by block, so its size grows with the area.
    assert values["incompressibility"] * (4096 / 256) ** 2 < JpegReward.columns["incompressibility"][1]


def test_the_version_names_the_library_that_sizes_depend_on() -> None:
    assert "libjpeg" in JpegReward().version
