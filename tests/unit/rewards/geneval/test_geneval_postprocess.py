"""Query logits become detections: checked against a derivation in numpy, and on masks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from advantageflow.rewards.geneval import detector
from advantageflow.rewards.geneval.detector import detections
from advantageflow.rewards.geneval.spec import CLASSES

Array = NDArray[np.float64]


def class_logits(*sure_of: tuple[int, float] | None) -> torch.Tensor:
    """Of queries that have a class with a probability, the rest being 'no object'; None is sure of nothing."""
    rows = torch.full((len(sure_of), len(CLASSES) + 1), -50.0)
    for row, query in zip(rows, sure_of, strict=True):
        index, probability = query or (0, 1e-9)
        row[index], row[-1] = np.log(probability), np.log1p(-probability)
    return rows


def boxed(height: int, width: int, box: tuple[int, int, int, int], inside: float = 8.0) -> torch.Tensor:
    """Mask logits (1, height, width): `inside` in the box, its opposite outside."""
    logits = torch.full((1, height, width), -inside)
    left, top, right, bottom = box
    logits[0, top:bottom, left:right] = inside
    return logits


def same(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes of an image that is neither resized nor padded."""
    return [(height, width)] * 3


def test_a_drawn_mask_comes_back_with_its_box_class_and_score() -> None:
    (found,) = detections(class_logits((16, 0.8)), boxed(8, 12, (2, 1, 7, 5)), *same(8, 12))
    assert found.index == 16
    assert found.box == (2, 1, 7, 5)
    assert found.score == pytest.approx(0.8 / (1 + np.exp(-8)), rel=1e-5)
    expected = np.zeros((8, 12), dtype=bool)
    expected[1:5, 2:7] = True
    assert found.mask is not None
    assert np.array_equal(found.mask, expected)


def test_the_score_is_the_class_probability_times_the_mean_mask_probability() -> None:
    logits = boxed(4, 4, (0, 0, 2, 2), inside=0.5)
    logits[0, 0, 0] = 3.0
    (found,) = detections(class_logits((3, 0.9)), logits, *same(4, 4))
    mean = np.mean(1 / (1 + np.exp(-np.array([3.0, 0.5, 0.5, 0.5]))))
    assert found.score == pytest.approx(0.9 * mean, rel=1e-5)


def test_what_is_not_sure_enough_and_empty_masks_are_left_out() -> None:
    masks = torch.cat([
        boxed(4, 4, (0, 0, 2, 2)),
        boxed(4, 4, (0, 0, 2, 2), inside=0.1),  # a mean mask probability of .525
        torch.full((1, 4, 4), -1.0),
        boxed(4, 4, (0, 0, 2, 2)),
    ])  # fmt: skip
    found = detections(class_logits((1, 0.29), (2, 0.5), (3, 0.99), None), masks, *same(4, 4))
    assert found == []


def test_one_query_may_be_two_classes_and_the_surest_comes_first() -> None:
    logits = class_logits((1, 0.35), (2, 0.9))
    logits[0, 5] = np.log(0.55)
    logits[0, -1] = np.log(0.10)
    masks = torch.cat([boxed(4, 4, (0, 0, 2, 2)), boxed(4, 4, (1, 1, 4, 4))])
    found = detections(logits, masks, *same(4, 4))
    assert [one.index for one in found] == [2, 5, 1]
    assert [one.box for one in found] == [(1, 1, 4, 4), (0, 0, 2, 2), (0, 0, 2, 2)]


def test_only_the_likeliest_pairs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "QUERIES", 2)
    masks = torch.cat([boxed(4, 4, (0, 0, 2, 2))] * 3)
    found = detections(class_logits((1, 0.5), (2, 0.9), (3, 0.7)), masks, *same(4, 4))
    assert [one.index for one in found] == [2, 3]


def test_padding_is_cut_off_before_masks_are_resized_to_the_image() -> None:
    logits = np.random.default_rng(0).normal(size=(1, 16, 16))
    (found,) = detections(class_logits((0, 0.999)), torch.tensor(logits), (20, 30), (40, 60), (64, 64))

    cut = enlarge(enlarge(logits[0], (64, 64))[:40, :60], (20, 30))
    mask = cut > 0
    assert found.mask is not None
    assert found.mask.shape == (20, 30)
    assert np.array_equal(found.mask, mask)
    assert found.score == pytest.approx(0.999 * (1 / (1 + np.exp(-cut[mask]))).mean(), rel=1e-4)
    rows, columns = np.nonzero(mask)
    assert found.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def enlarge(values: Array, size: tuple[int, int]) -> Array:
    """Bilinear resizing about pixel centres, without antialiasing, edges repeated."""
    return weights(size[0], values.shape[0]) @ values @ weights(size[1], values.shape[1]).T


def weights(target: int, source: int) -> Array:
    """(target, source): how much of each source pixel each target pixel is."""
    places = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(source)))
