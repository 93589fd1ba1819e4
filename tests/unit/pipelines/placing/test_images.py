"""Container images of the stages: which references are taken, and what is said of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.commands.options import choose_images
from advantageflow_pipelines.pipelines.definition import Stage
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.images import check_reference, default_images, read_images

DIGEST = "sha256:" + "0123456789abcdef" * 4


def written(folder: Path, content: object) -> Path:
    path = folder / "images.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def five(**changes: object) -> dict[str, object]:
    return {**{stage: f"registry.example:5000/team/{stage}@{DIGEST}" for stage in ONLINE.stage_names}, **changes}


def test_a_file_names_the_image_of_each_stage(tmp_path: Path) -> None:
    images = read_images(written(tmp_path, five(reward="advantageflow/reward:0.1.0")), ONLINE)
    assert images["training"] == f"registry.example:5000/team/training@{DIGEST}"
    assert images["reward"] == "advantageflow/reward:0.1.0"


@pytest.mark.parametrize("image", [f"stage:latest@{DIGEST}", f"stage@{DIGEST}", "localhost/a/b_c:1.0-x", "a:1"])
def test_a_digest_or_a_tag_that_does_not_move_is_taken(image: str) -> None:
    assert check_reference(image, where="--image") == image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("registry.example/stage:latest", "has the tag 'latest', which moves"),
        ("registry.example:5000/stage", "has no tag"),
        ("stage", "has no tag"),
        ("Stage:1", "is not the name of a container image"),
        ("stage:1 ", "is not the name of a container image"),
        ("stage@sha256:abc", "is not the name of a container image"),
        ("https://registry.example/stage:1", "is not the name of a container image"),
        ("", "is not the name of a container image"),
        (None, "null is not the name of a container image"),
    ],
)
def test_an_image_that_is_not_pinned_is_refused_by_stage_and_file(image: object, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, five(rollout=image))
    with pytest.raises(SettingsError) as refused:
        read_images(path, ONLINE)
    assert words in refused.value.message
    assert refused.value.where == f"{path}: rollout"
    assert "sha256" in refused.value.remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({stage: f"{stage}:1" for stage in ONLINE.stage_names if stage != "reward"}, "has no image for reward"),
        (five(rewards="x:1"), "there is no stage 'rewards'"),
        ([], "a JSON object was expected"),
        ("{", "it is corrupt"),
        ("[" * 100_000, "nested more than 64 deep"),
    ],
)
def test_a_file_of_another_form_is_refused(content: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        read_images(written(tmp_path, content), ONLINE)


def test_of_the_images_that_the_build_wrote_a_pipeline_takes_those_of_its_stages_by_their_names(tmp_path: Path) -> None:
    pipeline = replace(ONLINE, stages=(Stage("prompts"), Stage("judging", image="evaluation")))
    images = read_images(written(tmp_path, five()), pipeline)
    names = {stage: image.rpartition("/")[2].partition("@")[0] for stage, image in images.items()}
    assert names == {"prompts": "prompts", "judging": "evaluation"}
    assert default_images(pipeline)["judging"] == default_images(ONLINE)["evaluation"]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="file not found") as refused:
        read_images(tmp_path / "images.json", ONLINE)
    assert "docker/build.sh" in refused.value.remedy


def test_the_options_choose_the_file_or_one_image_or_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, five())
    settings = RunSettings()
    assert choose_images(path, None, settings) == read_images(path, ONLINE)
    assert choose_images(None, "stage:1", settings) == dict.fromkeys(ONLINE.stage_names, "stage:1")
    assert choose_images(None, None, settings) == default_images(ONLINE)
    with pytest.raises(SettingsError, match="both"):
        choose_images(path, "stage:1", settings)
    with pytest.raises(SettingsError, match="has no tag"):
        choose_images(None, "stage", settings)
