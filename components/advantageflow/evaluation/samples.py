"""The pictures of a report that a person looks at: fixed prompts and noise, read back and paired across reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.errors import DataError
from advantageflow.store.files import read_json

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLES_FOLDER = "samples"
SAMPLES_INDEX = "samples.json"
SAMPLE_PIXELS = 192  # smaller pictures are enlarged to about this width, so that a person can see them


@dataclass(frozen=True)
class Sample:
    """A picture to look at.

    Attributes:
        prompt_id, text, task: its prompt.
        seed: of its initial noise.
        reward: value of the column that training maximises; None where the reward could not score it.
        correct: whether it is what the prompt asks for; None where the reward has no strict column.
    """

    prompt_id: str
    text: str
    task: str
    seed: int
    reward: float | None
    correct: bool | None

    @property
    def verdict(self) -> str:
        """'correct' or 'wrong'; where that was not judged, the reward."""
        if self.reward is None:
            return "not scored"
        return {True: "correct", False: "wrong", None: f"{self.reward:.3g}"}[self.correct]


def read_samples(folder: Path) -> list[tuple[Sample, Image]]:
    """The pictures to look at of a report.

    Raises:
        StoreError: a file is missing or corrupt.
    """
    from PIL import Image

    samples = [Sample(**sample) for sample in read_json(folder / SAMPLES_INDEX)["samples"]]
    pictures = []
    for number in range(len(samples)):
        with Image.open(sample_path(folder, number)) as picture:
            pictures.append(picture.convert("RGB"))
    return list(zip(samples, pictures, strict=True))


def paired_samples(reports: Mapping[str, Path]) -> dict[str, list[tuple[Sample, Image]]]:
    """The pictures to look at of several reports, which show the same prompts and noise in the same order.

    Args:
        reports: the reports' folders, by what to call each.

    Raises:
        StoreError: a file is missing or corrupt.
        DataError: they do not.
    """
    samples = {name: read_samples(folder) for name, folder in reports.items()}
    shown = {name: [(sample.prompt_id, sample.seed) for sample, _ in of_one] for name, of_one in samples.items()}
    first = next(iter(shown))
    for name in shown:
        if shown[name] != shown[first]:
            where = f"{reports[first]} and {reports[name]}"
            remedy = "compare two evaluations of one run"
            raise DataError("the two reports show different prompts", where=where, remedy=remedy)
    return samples


def sample_path(folder: Path, number: int) -> Path:
    """Where the picture of a sample stands."""
    return folder / SAMPLES_FOLDER / f"{number:02d}.png"


def enlarge(picture: Image, pixels: int) -> Image:
    """Enlarge a small picture by a whole factor to at most `pixels` wide, each pixel a crisp square."""
    from PIL import Image

    factor = max(1, pixels // picture.width)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
