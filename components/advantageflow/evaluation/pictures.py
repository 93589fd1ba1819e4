"""The pictures of a report that a person looks at: of fixed prompts and noise, read back, paired, and as sheets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advantageflow.annotations import Image
from advantageflow.errors import DataError
from advantageflow.evaluation.fonts import text_width, write_text
from advantageflow.store.files import read_json, writing

SAMPLES_FOLDER = "samples"
SAMPLES_INDEX = "samples.json"
SAMPLE_PIXELS = 192  # smaller pictures are enlarged to about this width, so that a person can see them

PAPER, INK, PALE = "#ffffff", "#1f2328", "#656d76"
RIGHT, WRONG, UNKNOWN = "#1a7f37", "#cf222e", "#8c959f"
_MARGIN, _HEAD, _GAP, _FRAME, _FOOT, _LINE = 24, 40, 20, 5, 24, 19  # pixels
_LARGEST_CELL = 256  # larger pictures are shrunk to this


@dataclass(frozen=True)
class Sample:
    """A picture to look at."""

    prompt_id: str
    text: str
    task: str
    seed: int  # of its initial noise
    reward: float | None  # value of the column that training maximises; None where the reward could not score it
    correct: bool | None  # whether it is what the prompt asks for; None where the reward has no strict column

    @property
    def verdict(self) -> str:
        """'correct' or 'wrong'; where that was not judged, the reward."""
        if self.reward is None:
            return "not scored"
        return {True: "correct", False: "wrong", None: f"{self.reward:.3g}"}[self.correct]


def read_samples(folder: Path) -> list[tuple[Sample, Image]]:
    """The pictures to look at of a report; raises StoreError where a file is missing or corrupt."""
    from PIL import Image

    return [
        (Sample(**sample), Image.open(sample_path(folder, number)).convert("RGB"))
        for number, sample in enumerate(read_json(folder / SAMPLES_INDEX)["samples"])
    ]


def paired_samples(reports: Mapping[str, Path]) -> dict[str, list[tuple[Sample, Image]]]:
    """The pictures to look at of reports, by what to call each.

    Raises:
        StoreError: a file is missing or corrupt.
        DataError: they do not show the same prompts and noise in the same order.
    """
    samples = {name: read_samples(folder) for name, folder in reports.items()}
    shown = {name: [(sample.prompt_id, sample.seed) for sample, _ in of_one] for name, of_one in samples.items()}
    first, *others = shown
    for name in others:
        if shown[name] != shown[first]:
            where = f"{reports[first]} and {reports[name]}"
            remedy = "compare two evaluations of one run"
            raise DataError("the two reports show different prompts", where=where, remedy=remedy)
    return samples


def sample_path(folder: Path, number: int) -> Path:
    """Where the picture of a sample stands."""
    return folder / SAMPLES_FOLDER / f"{number:02d}.png"


def enlarge(picture: Image) -> Image:
    """Enlarge a small picture by a whole factor to at most SAMPLE_PIXELS wide, each pixel a crisp square."""
    from PIL import Image

    factor = max(1, SAMPLE_PIXELS // picture.width)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def sample_sheet(reports: Mapping[str, Path], out: Path, columns: int = 4) -> None:
    """Draw the samples of reports, each in a green (correct) or red (wrong) frame, their prompts below, as a PNG file.

    The reports are by what to call each; of several, the pictures of a prompt stand side by side, `columns` prompts in
    a row. Raises DataError: the reports do not show the same prompts and seeds.
    """
    samples = paired_samples(reports)
    names = samples if len(samples) > 1 else [""]
    cells = [
        _captioned([_framed(picture, sample, name) for name, (sample, picture) in zip(names, row, strict=True)],
                   row[0][0])
        for row in zip(*samples.values(), strict=True)
    ]  # fmt: skip
    titles = []
    for name, of_one in samples.items():
        judged = [sample.correct for sample, _ in of_one if sample.correct is not None]
        titles.append(f"{name} ({sum(judged)} of {len(judged)} correct)" if judged else name)
    sheet = _grid(cells, columns, " and ".join(titles))
    with writing(out):
        sheet.save(out, optimize=True)


def _framed(picture: Image, sample: Sample, name: str) -> Image:
    """The picture at the size of a cell, in a coloured frame whose foot says the verdict in words."""
    from PIL import Image, ImageDraw

    picture = enlarge(picture)
    picture.thumbnail((_LARGEST_CELL, _LARGEST_CELL))
    colour = {True: RIGHT, False: WRONG, None: UNKNOWN}[sample.correct]
    size = (picture.width + 2 * _FRAME, picture.height + _FRAME + _FOOT)
    framed = Image.new("RGB", size, colour)
    framed.paste(picture, (_FRAME, _FRAME))
    text = f"{name}: {sample.verdict}" if name else sample.verdict
    left = (framed.width - text_width(text, 14)) / 2
    write_text(ImageDraw.Draw(framed), left, framed.height - _FOOT // 2 + 5, text, PAPER, 14)
    return framed


def _captioned(pictures: Sequence[Image], sample: Sample) -> Image:
    """Pictures side by side, below them the prompt and its task."""
    from PIL import Image, ImageDraw

    width = sum(picture.width for picture in pictures) + (len(pictures) - 1) * _FRAME
    height = max(picture.height for picture in pictures)
    lines = _wrap(sample.text, 16, width)
    cell = Image.new("RGB", (width, height + 10 + _LINE * (len(lines) + 1)), PAPER)
    left = 0
    for picture in pictures:
        cell.paste(picture, (left, 0))
        left += picture.width + _FRAME
    draw = ImageDraw.Draw(cell)
    for number, line in enumerate(lines):
        write_text(draw, 0, height + 22 + number * _LINE, line, INK, 16)
    write_text(draw, 0, height + 22 + len(lines) * _LINE, sample.task, PALE, 13)
    return cell


def _grid(cells: Sequence[Image], columns: int, title: str) -> Image:
    """Cells in rows under a title; each row as high as its highest cell."""
    from PIL import Image, ImageDraw

    columns = min(columns, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    width = max(cell.width for cell in cells)
    heights = [max(cell.height for cell in row) for row in rows]
    inner = max(columns * width + (columns - 1) * _GAP, math.ceil(text_width(title, 22)))
    size = (inner + 2 * _MARGIN, 2 * _MARGIN + _HEAD + sum(heights) + (len(rows) - 1) * _GAP)
    sheet = Image.new("RGB", size, PAPER)
    write_text(ImageDraw.Draw(sheet), _MARGIN, _MARGIN + 16, title, INK, 22)
    top = _MARGIN + _HEAD
    for row, height in zip(rows, heights, strict=True):
        for number, cell in enumerate(row):
            sheet.paste(cell, (_MARGIN + number * (width + _GAP), top))
        top += height + _GAP
    return sheet


def _wrap(text: str, size: int, width: int) -> list[str]:
    """Break a text into lines that fit: between words, and within one that is too long, as Chinese text is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter, size) > width:
                lines.append("")
            lines[-1] += letter
    return lines
