"""Sheets of sample pictures and curves, drawn and looked at pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw

from advantageflow.errors import DataError
from advantageflow.evaluation.curves import run_panels
from advantageflow.evaluation.fonts import write_text
from advantageflow.evaluation.pictures import RIGHT, SAMPLES_FOLDER, UNKNOWN, WRONG, read_samples, sample_sheet
from advantageflow.evaluation.report import read_outcomes

MakeReport = Callable[..., Path]
ROUNDS = [
    {
        "round": k,
        "strict": 0.3 + 0.1 * k,
        "strict_ci95": [0.25 + 0.1 * k, 0.35 + 0.1 * k],
        "soft": 0.5,
        "tasks": {"a": 1},
    }
    for k in range(3)
]


def pixels(path: Path, colour: str) -> int:
    with Image.open(path) as picture:
        return int((np.asarray(picture.convert("RGB")) == ImageColor.getrgb(colour)).all(-1).sum())


def test_a_report_is_read_back_as_it_was_written(make_report: MakeReport) -> None:
    report = make_report("report", [True, False, None, True])
    assert [outcome.strict for outcome in read_outcomes(report)] == [1.0, 0.0, 0.0, 1.0]
    samples = read_samples(report)
    assert [sample.correct for sample, _ in samples] == [True, False, None, True]
    assert samples[0][0].text == "a red circle"
    assert len(list((report / SAMPLES_FOLDER).iterdir())) == 4


def test_sample_pictures_are_enlarged_to_crisp_squares(make_report: MakeReport) -> None:
    _, picture = read_samples(make_report("report", [True, True, True, True]))[0]
    array = np.asarray(picture)
    assert array.shape == (192, 192, 3)
    blocks = array.reshape(48, 4, 48, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()


def test_a_sheet_frames_correct_wrong_and_unjudged_pictures_in_their_colours(
    make_report: MakeReport, tmp_path: Path
) -> None:
    report = make_report("report", [True, True, False, None])
    sample_sheet({"held-out prompts": report}, tmp_path / "sheet.png")
    right, wrong, unknown = (pixels(tmp_path / "sheet.png", colour) for colour in (RIGHT, WRONG, UNKNOWN))
    assert right > 1.8 * wrong > 0
    assert unknown > 0
    assert (report / "samples.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()


def test_a_contact_sheet_shows_each_prompt_before_and_after(make_report: MakeReport, tmp_path: Path) -> None:
    before, after = make_report("before", [False] * 4), make_report("after", [True] * 4)
    sample_sheet({"before": before, "after": after}, tmp_path / "sheet.png", columns=2)
    sheet = tmp_path / "sheet.png"
    assert pixels(sheet, RIGHT) > 0
    assert pixels(sheet, WRONG) > 0
    with Image.open(sheet) as picture:
        assert picture.width > 4 * 192
        assert picture.height > 2 * 192
    sample_sheet({"before": before, "after": before}, tmp_path / "same.png")
    assert pixels(tmp_path / "same.png", RIGHT) == 0


def test_reports_of_different_noise_are_not_put_side_by_side(make_report: MakeReport, tmp_path: Path) -> None:
    before, after = make_report("before", [True] * 4), make_report("after", [True] * 4, first_seed=100)
    with pytest.raises(DataError, match="different prompts"):
        sample_sheet({"before": before, "after": after}, tmp_path / "sheet.png")


def test_panels_are_of_held_out_prompts_and_of_what_is_known_of_the_training() -> None:
    training = {"reward/soft_mean": {2: 0.5, 1: 0.4}, "training/deviation": {1: 0.001, 2: float("nan")}}
    first, *others = run_panels(ROUNDS, training)
    assert first.lines[0].values == {0: 0.3, 1: 0.4, 2: 0.5}
    assert first.lines[0].bands[1] == pytest.approx([0.35, 0.45])
    assert [panel.title for panel in others] == ["Rollouts on training prompts", "Deviation from the rollout policy"]
    assert list(others[0].lines[0].values.items()) == [(1, 0.4), (2, 0.5)]


def test_several_terms_get_a_panel_each_and_one_term_none() -> None:
    soft, size = (
        {"mean": mean, "ci95": [mean - 1, mean + 1], "reward": reward, "column": column, "higher_is_better": True}
        for mean, reward, column in ((0.5, "shapes", "soft"), (-1.25, "jpeg", "compressibility"))
    )
    one = [{**entry, "terms": {"shapes.soft": soft}} for entry in ROUNDS]
    two = [{**entry, "terms": {"shapes.soft": soft, "jpeg.kb": {**size, "minimum": -2}}} for entry in ROUNDS]
    assert len(run_panels(one)) == len(run_panels(ROUNDS)) == 1
    _, first, second, _ = run_panels(two, {"reward/soft_mean": {1: 0.1, 2: 0.2}})
    assert [line.name for line in first.lines] == ["held-out prompts", "rollouts"]
    assert second.marks == {"minimum": -2}


@pytest.mark.parametrize(("column", "bounds"), [("strict", (0, 1)), ("compressibility", (None, None))])
def test_only_shares_are_drawn_between_zero_and_one(column: str, bounds: tuple[float | None, float | None]) -> None:
    rounds = [{"round": k, "strict": -1.0, "soft": 0, "tasks": {"a": -1.0, "b": 0}, "strict_column": column}
              for k in range(3)]  # fmt: skip
    _, tasks = run_panels(rounds)
    assert (tasks.low, tasks.high) == bounds
    assert tasks.unit == ("strict accuracy" if column == "strict" else "compressibility")


@pytest.mark.parametrize("text", ["κόκκινος κύκλος", "красный круг", "红色圆圈", "빨간 원", "赤い丸", "naïve Ærø"])
def test_captions_in_any_script_are_drawn_letter_by_letter(text: str) -> None:
    def drawn(words: str) -> bytes:
        picture = Image.new("L", (300, 40))
        write_text(ImageDraw.Draw(picture), 4, 30, words, "white", 20)
        return picture.tobytes()

    missing = drawn(chr(0x10FFFE) * len(text))
    assert drawn(text) != missing
    letters = [letter for letter in text if not letter.isspace()]
    assert len({drawn(letter) for letter in letters}) == len(set(letters)), "no two letters are the same empty box"
