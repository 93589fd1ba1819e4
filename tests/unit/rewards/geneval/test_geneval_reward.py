"""The reward as a whole on tiny random models: columns, details, options, versions; and specs that it cannot read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from advantageflow.errors import DataError, RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import planned_version
from advantageflow.rewards.geneval.networks import ColorClassifier, Detector, cut_out
from advantageflow.rewards.geneval.reward import GenEvalReward
from advantageflow.rewards.geneval.scoring import select
from advantageflow.rewards.geneval.spec import CLASSES
from advantageflow.rewards.plumbing.checks import score_images
from advantageflow.rewards.plumbing.registry import get_reward, list_rewards

SIDES = (64, 107)


@pytest.fixture(scope="session")
def folders(detector_folder: Path, clip_folder: Path) -> dict[str, Any]:
    return {"model": str(detector_folder), "clip": str(clip_folder), "sides": SIDES}


@pytest.fixture(scope="session")
def reward(folders: dict[str, Any]) -> GenEvalReward:
    return GenEvalReward(**folders, batch=2)


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def prompt(*include: dict[str, Any], tag: str = "colors") -> Prompt:
    return Prompt("a photo of something", "eval", tag, {"tag": tag, "include": list(include)})


def test_what_the_detector_finds_in_the_colour_that_clip_sees_is_correct(
    reward: GenEvalReward, folders: dict[str, Any]
) -> None:
    image = picture(0)
    found = select(Detector(folders["model"], None, GenEvalReward(), SIDES).detect([image])[0], "colors")
    name, objects = next(iter(found.items()))
    classifier = ColorClassifier(folders["clip"], None, GenEvalReward())
    (color,) = classifier.classify([cut_out(image, objects[0])], [name])
    absent = next(one for one in CLASSES if one not in found)
    asked = {"class": name, "count": len(objects)}
    other = "red" if color != "red" else "blue"
    top = {"class": name, "count": 1}

    prompts = [
        prompt(asked),
        prompt({**top, "color": color}),
        prompt({**top, "color": other}),
        prompt({"class": absent, "count": 1}),
    ]
    results = score_images(reward, prompts, [image] * 4, ["a", "b", "c", "d"])
    assert results[0][0] == {"correct": 1.0, "strict": 1.0, "soft": 1.0}
    assert results[1][0]["correct"] == 1
    assert results[2][0]["correct"] == 0
    assert results[2][1]["failed"] == [f"expected at least 1 {other} {name}, found 0 ({color})"]
    assert results[3][0] == {"correct": 0.0, "strict": 0.0, "soft": 0.0}

    described = results[1][1]["found"][0]
    assert described.startswith(f"{color} {name} {objects[0].score:.2f} at ")
    assert len(results[0][1]["found"]) == sum(map(len, found.values()))


def test_counting_asks_for_surer_objects(reward: GenEvalReward) -> None:
    spec = {"class": "dog", "count": 2}
    (_, unsure), (_, sure) = reward.score([prompt(spec), prompt(spec, tag="counting")], [picture(0)] * 2)
    scores = [float(one.split()[-3]) for one in unsure["found"]]
    assert min(scores) < 0.9  # else the picture shows nothing
    assert len(sure["found"]) == sum(score > 0.9 for score in scores)


def test_equal_images_have_equal_scores_whatever_their_batch(reward: GenEvalReward) -> None:
    images = [picture(seed) for seed in (0, 1, 2, 0)]
    prompts = [prompt({"class": "dog", "count": 1, "color": "red"})] * 4
    together = reward.score(prompts, images)
    assert together == reward.score(prompts, images)
    assert together[0] == together[3]
    assert [values for values, _ in together] == [reward.score(prompts[:1], [image])[0][0] for image in images]


def test_peer_compatible_scores_declare_the_range_that_they_have(folders: dict[str, Any]) -> None:
    assert GenEvalReward(**folders).columns["soft"] == (0, 1)
    peers = GenEvalReward(**folders, peer_compatible=True)
    assert peers.columns["soft"] == (-14, 1)
    assert "peer-compatible" in peers.version


def test_the_version_is_that_of_both_models_weights(reward: GenEvalReward, folders: dict[str, Any]) -> None:
    assert reward.version == GenEvalReward(**folders).version
    other = GenEvalReward(**folders)
    with torch.no_grad():
        other._colors.module.logit_scale.add_(1)
    assert other.version != reward.version
    assert GenEvalReward(**folders, dtype="bfloat16").version != reward.version


def test_the_hash_of_the_weights_is_the_same_in_every_precision(folders: dict[str, Any]) -> None:
    full, half = (GenEvalReward(**folders, dtype=dtype) for dtype in ("float32", "bfloat16"))
    half.score([prompt({"class": "dog", "count": 1})], [picture(0)])
    assert half.version.replace("bfloat16", "float32") == full.version
    assert planned_version(full) == "1, float32, 64x107"
    assert full.version.startswith("1, float32, 64x107, weights ")


def test_a_wrong_image_is_an_error_that_names_the_sample(reward: GenEvalReward) -> None:
    grey = np.zeros((8, 8), dtype=np.uint8)
    with pytest.raises(RewardError, match="expected an RGB image") as caught:
        score_images(reward, [prompt({"class": "dog", "count": 1})], [grey], ["3-abc-0"])
    assert "3-abc-0" in caught.value.where


def test_checking_prompts_and_listing_rewards_loads_no_weights(tmp_path: Path) -> None:
    reward = GenEvalReward(model=str(tmp_path / "none"), clip=str(tmp_path / "none"))
    reward.check(prompt({"class": "dog", "count": 1}))
    with pytest.raises(DataError, match="'dogg' is unknown") as caught:
        reward.check(prompt({"class": "dogg", "count": 1}))
    assert caught.value.where == "prompt 'a photo of something', spec include[0].class"
    assert "did you mean 'dog'" in caught.value.remedy
    with pytest.raises(RewardError, match="cannot load"):
        _ = reward.version


def test_it_is_registered_and_listed_without_its_weights() -> None:
    assert isinstance(get_reward("geneval"), GenEvalReward)
    (info,) = [info for info in list_rewards() if info.name == "geneval"]
    assert set(info.columns) == {"correct", "strict", "soft"}
    assert not info.error
