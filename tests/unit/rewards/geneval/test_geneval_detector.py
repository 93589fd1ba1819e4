"""The detector on a tiny random Mask2Former: what goes in, what comes out whatever the batch, and its masks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from advantageflow.errors import RewardError
from advantageflow.rewards.backbones.pretrained import weights_hash
from advantageflow.rewards.geneval import networks as detector
from advantageflow.rewards.geneval.networks import Detector, detections, prepare, target_size
from advantageflow.rewards.geneval.reward import GenEvalReward
from advantageflow.rewards.geneval.scoring import Detection
from advantageflow.rewards.geneval.spec import CLASSES

SIDES = (64, 107)  # pixels, for speed; as 800 and 1333 are to each other


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make(folder: Path, **options: Any) -> Detector:
    return Detector(str(folder), None, GenEvalReward(**options), SIDES)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((512, 512), (800, 800)),
        ((1024, 1024), (800, 800)),
        ((480, 640), (800, 1067)),  # 1066.67 rounded
        ((640, 480), (1067, 800)),
        ((300, 900), (444, 1333)),  # the long side is what limits: 444.33
        ((48, 48), (800, 800)),
    ],
)
def test_images_fit_800_by_1333_with_their_shape_kept(size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert target_size(*size) == resized


def test_images_are_normalised_by_imagenet_and_padded_with_its_mean_to_multiples_of_32() -> None:
    image = np.full((20, 40, 3), 255, dtype=np.uint8)
    pixels = prepare(image, (20, 40))
    assert pixels.shape == (3, 32, 64)
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(pixels[:, :20, :40], white[:, None, None].expand(3, 20, 40), atol=1e-4)
    assert not pixels[:, 20:].any()
    assert not pixels[:, :, 40:].any()


def test_channels_stay_red_green_blue() -> None:
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[..., 0] = 255
    red, green, blue = prepare(image, (32, 32)).mean(dim=(1, 2)).tolist()
    assert red > 2
    assert green < -2 + 0.1
    assert blue < -1.5


def test_resizing_is_bilinear_about_pixel_centres() -> None:
    image = np.zeros((1, 2, 3), dtype=np.uint8)
    image[0, 1] = 200
    pixels = prepare(image, (1, 4))[0, 0, :4] * 58.395 + 123.675
    assert pixels.tolist() == pytest.approx([0, 50, 150, 200], abs=1e-3)


def test_detections_lie_in_the_image_as_it_was_given(detector_folder: Path) -> None:
    image = picture(30, 50)
    (found,) = make(detector_folder).detect([image])
    assert found  # the tiny model is sure of something
    for one in found:
        left, top, right, bottom = one.box
        assert 0 <= left < right <= 50
        assert 0 <= top < bottom <= 30
        assert one.mask is not None
        assert one.mask.shape == (30, 50)
        assert 0.3 < one.score <= 1
        assert 0 <= one.index < 80
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def plain(found: list[Detection]) -> list[tuple[int, tuple[float, ...]]]:
    return [(one.index, one.box) for one in found]


def test_images_of_several_sizes_come_back_in_order_as_each_alone(detector_folder: Path) -> None:
    images = [picture(30, 50, 0), picture(40, 40, 1), picture(30, 50, 2), picture(40, 40, 3), picture(30, 50, 4)]
    detector = make(detector_folder, batch=2)
    together = detector.detect(images)
    alone = [detector.detect([image])[0] for image in images]
    assert [plain(found) for found in together] == [plain(found) for found in alone]
    assert len({str(plain(found)) for found in alone}) > 1
    scores = [[one.score for one in found] for found in together]
    assert [pytest.approx(s, abs=1e-5) for s in scores] == [[one.score for one in found] for found in alone]


def test_no_images_give_no_detections(detector_folder: Path) -> None:
    assert make(detector_folder).detect([]) == []


def test_a_detector_of_other_classes_is_refused(other_detector_folder: Path) -> None:
    with pytest.raises(RewardError, match="100 classes") as caught:
        make(other_detector_folder)
    assert caught.value.where == str(other_detector_folder)


def test_what_a_checkpoint_has_beside_the_weights_is_not_read(detector_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(detector_folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"auxiliary.weight": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with_more, without = (make(folder) for folder in (tmp_path, detector_folder))
    assert weights_hash(with_more.module) == weights_hash(without.module)


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
