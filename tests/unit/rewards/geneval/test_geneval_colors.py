"""Colours: objects cut out by their masks, and CLIP's zero-shot choice on a tiny random model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from advantageflow.rewards.backbones.pixels import centre_square
from advantageflow.rewards.geneval.networks import ColorClassifier, cut_out
from advantageflow.rewards.geneval.reward import GenEvalReward
from advantageflow.rewards.geneval.scoring import Detection
from advantageflow.rewards.geneval.spec import COLORS

RED, GREY = (255, 0, 0), (0x99, 0x99, 0x99)


def scene() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A blue image with a red triangle, and the triangle's mask."""
    mask = np.zeros((20, 30), dtype=bool)
    for row in range(10):
        mask[5 + row, 4 : 5 + row] = True
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    image[...] = (0, 0, 255)
    image[mask] = RED
    return image, mask


def test_an_object_is_put_on_grey_by_its_mask_and_cropped_to_its_box() -> None:
    image, mask = scene()
    cut = np.asarray(cut_out(image, Detection(0, 0.9, (4.0, 5.0, 14.0, 15.0), mask)))
    assert cut.shape == (10, 10, 3)
    inside = mask[5:15, 4:14]
    assert (cut[inside] == RED).all()
    assert (cut[~inside] == GREY).all()


def test_without_a_mask_the_box_alone_is_cut_out() -> None:
    image, _ = scene()
    cut = np.asarray(cut_out(image, Detection(0, 0.9, (4.0, 5.0, 14.0, 15.0))))
    assert np.array_equal(cut, image[5:15, 4:14])


def prepare(picture: Image.Image, size: int) -> torch.Tensor:
    """A cut-out as the classifier's CLIP takes it, (3, size, size)."""
    return centre_square([np.asarray(picture)], size)[0]


@pytest.mark.parametrize("size", [(40, 80), (80, 40), (10, 13), (1, 30)])
def test_cutouts_of_any_shape_become_squares_of_clips_size(size: tuple[int, int]) -> None:
    assert prepare(Image.new("RGB", size, RED), 32).shape == (3, 32, 32)


def test_the_centre_is_what_is_seen_normalised_as_clip_wants_it() -> None:
    picture = Image.new("RGB", (96, 32), (0, 0, 255))
    picture.paste(RED, (32, 0, 64, 32))
    pixels = prepare(picture, 32)
    red = (torch.tensor([1.0, 0, 0]) - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    assert torch.allclose(pixels[:, :, 8:24], red[:, None, None].expand(3, 32, 16), atol=1e-4)


@pytest.fixture
def classifier(clip_folder: Path) -> ColorClassifier:
    return ColorClassifier(str(clip_folder), None, GenEvalReward(batch=3))


def cutouts(number: int) -> list[Image.Image]:
    """Of plain colours with some noise."""
    rng = np.random.default_rng(1)
    plain = rng.choice([0, 230], (number, 1, 1, 3))
    return [Image.fromarray((one + rng.integers(0, 26, (40, 50, 3))).astype(np.uint8)) for one in plain]


def by_hand(classifier: ColorClassifier, folder: Path, picture: Image.Image, name: str) -> str:
    """The choice as the protocol says it, one text at a time: mean of three unit embeddings, largest cosine."""
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), classifier.module
    cosines = []
    with torch.no_grad():
        vision = model.vision_model(prepare(picture, 32)[None]).pooler_output
        image = model.visual_projection(vision)[0].double().numpy()
        for color in COLORS:
            texts = [
                f"a photo of a {color} {name}",
                f"a photo of a {color}-colored {name}",
                f"a photo of a {color} object",
            ]
            unit = []
            for text in texts:
                output = model.text_model(**tokenizer(text, return_tensors="pt")).pooler_output
                embedding = model.text_projection(output)[0].double().numpy()
                unit.append(embedding / np.linalg.norm(embedding))
            mean = np.mean(unit, axis=0)
            cosines.append(mean @ image / np.linalg.norm(mean) / np.linalg.norm(image))
    return COLORS[int(np.argmax(cosines))]


def test_the_colour_is_the_one_whose_three_texts_are_nearest_on_average(
    classifier: ColorClassifier, clip_folder: Path
) -> None:
    pictures = cutouts(7)
    names = ["fire hydrant", "cat", "cat", "tv remote", "bench", "cat", "skis"]
    expected = [by_hand(classifier, clip_folder, *pair) for pair in zip(pictures, names, strict=True)]
    assert classifier.classify(pictures, names) == expected
    assert len(set(expected)) > 1


def test_objects_do_not_depend_on_their_batch(classifier: ColorClassifier) -> None:
    pictures = cutouts(5)
    together = classifier.classify(pictures, ["dog"] * 5)
    assert together == [classifier.classify([picture], ["dog"])[0] for picture in pictures]
