"""Pictures get their prompts from a file or their names, and mistakes name the line; OCR reads the golden set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advantageflow.errors import DataError
from advantageflow.golden_checks.check import readable, score_pictures
from advantageflow.golden_checks.pictures import Picture, PictureRecord, find_golden, folder_pictures
from advantageflow.records import Prompt
from advantageflow.rewards.ocr import OcrReward


def save(folder: Path, *names: str) -> None:
    for level, name in enumerate(names):
        Image.new("RGB", (4, 4), (level, level, level)).save(folder / name)


def test_the_ocr_reward_reads_its_golden_pictures_as_recorded() -> None:
    reward, (golden, recorded) = OcrReward(), find_golden("ocr", None)
    assert recorded is not None
    pictures = [one for one in readable(reward, golden) if one.name in ("coffee-house", "fresh-fish")]
    for picture, (values, _) in zip(pictures, score_pictures(reward, pictures), strict=True):
        expected = recorded.scores[picture.name]["accuracy"]
        assert values["accuracy"] == pytest.approx(expected, abs=recorded.tolerance["accuracy"])
    assert {name: round(s["accuracy"], 2) for name, s in recorded.scores.items()} == {
        "open-today": 1.0, "coffee-house": 1.0, "fresh-fish": 0.78, "unwritten": 0.0,
    }  # fmt: skip


def test_a_folder_without_prompts_takes_the_names(tmp_path: Path) -> None:
    save(tmp_path, "a_red_cat.png", "b.jpg", "c.webp")
    (tmp_path / "notes.txt").touch()
    assert [one.prompt.text for one in folder_pictures(tmp_path)] == ["a red cat", "b", "c"]


def test_a_folder_s_own_prompts_come_first(tmp_path: Path) -> None:
    save(tmp_path, "a.png", "b.png")
    lines = [{"image": "b.png", "text": "a dog", "spec": {"n": 1}}, {"image": "a.png", "text": "a cat", "task": "t"}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = folder_pictures(tmp_path)
    assert [(one.name, one.prompt) for one in found] == [
        ("b", Prompt("a dog", "eval", "all", {"n": 1})),
        ("a", Prompt("a cat", "eval", "t")),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"image": "a.png"}', "text: Field required"),
        ('{"image": "a.png", "text": "a", "tag": 1}', "tag: Extra inputs"),
        ("{", "Invalid JSON"),
        ('{"image": "none.png", "text": "a"}', "'none.png' cannot be read"),
        ('{"image": "../a.png", "text": "a"}', "cannot be read: not the name of a file in this folder"),
        ('{"image": "/dev/zero", "text": "a"}', "cannot be read: not the name of a file in this folder"),
        ('{"image": "eps.png", "text": "a"}', "cannot be decoded"),
        ('{"image": "broken.png", "text": "a"}', "cannot be decoded"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    save(tmp_path, "a.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (4, 4)).save(tmp_path / "eps.png", format="EPS")  # which Pillow would have Ghostscript run
    (tmp_path / "prompts.jsonl").write_text('{"image": "a.png", "text": "a cat"}\n' + line)
    with pytest.raises(DataError, match=words) as caught:
        folder_pictures(tmp_path)
    assert caught.value.where == f"{tmp_path / 'prompts.jsonl'}:2"


def test_a_folder_without_pictures_or_with_two_of_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        folder_pictures(tmp_path)
    save(tmp_path, "a.png", "a.jpg")
    with pytest.raises(DataError, match="duplicate picture 'a'"):
        folder_pictures(tmp_path)
    with pytest.raises(DataError, match=r"cannot be read.*No such file"):
        folder_pictures(tmp_path / "none")


def test_a_picture_survives_its_record() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    before = Picture("x", Prompt("a cat", "eval", "t", {"n": 1}), image)
    after = PictureRecord.of(before).picture("x", "here")
    assert (after.name, after.prompt) == (before.name, before.prompt)
    assert np.array_equal(after.image, image)
