"""What a comparison found, as comparison.json holds it: every cell's curve, every variant's figures over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from advantageflow.errors import DataError
from advantageflow.settings import Settings
from advantageflow.store.files import reading, writing
from advantageflow_experiments.compare.plan import Grid, Pareto

Interval = tuple[float, float]

_ACCURACY = "strict accuracy"


class Estimate(Settings):
    """A mean over seeds.

    Attributes:
        mean: over the seeds.
        ci95: its 95 % interval by Student's t; None where a single seed tells nothing about the spread.
        count: number of seeds.
    """

    mean: float
    ci95: Interval | None
    count: int


class Measured(Settings):
    """A mean over the images of one evaluation, with its 95 % interval; and whether more of it is better."""

    mean: float
    ci95: Interval
    higher_is_better: bool = True


class Point(Settings):
    """One evaluation of one run.

    Attributes:
        round: after which it was made; 0 for the base model.
        generated: rollouts generated up to there.
        training_seconds: useful work up to there, without evaluation and start-up.
        images: held-out images judged.
        strict, soft, tasks: as in summary.json.
        terms: the reward terms by name, such as 'jpeg.compressibility'; empty where there is only one.
    """

    round: int
    generated: int
    training_seconds: float
    images: int
    strict: float
    strict_ci95: Interval
    soft: float
    tasks: dict[str, float]
    terms: dict[str, Measured] = Field(default_factory=dict)


class CellResult(Settings):
    """What one run came to.

    Attributes:
        status: 'diverged': its training or its policy was no longer finite, in `diverged_round`.
        reason: the run's own words for that.
        points: its evaluations, the base model's first; of a diverged run, those before it diverged.
        seconds: wall-clock time of the whole run, evaluations and start-up included; of all its attempts.
        strict_label, soft_label: what its points' strict and soft are; of a reward without such columns, the column
            that stands in for them. None where soft is the same as strict.
    """

    variant: str
    seed: int
    status: Literal["complete", "diverged"]
    diverged_round: int | None = None
    reason: str = ""
    points: tuple[Point, ...] = Field(min_length=1)
    seconds: float
    strict_label: str = _ACCURACY
    soft_label: str | None = "soft reward"
    policy_sha256: str | None = None
    mlflow_run_id: str | None = None

    @property
    def last(self) -> Point:
        """Its last evaluation: what it counts with, also when it diverged later."""
        return self.points[-1]


class CurvePoint(Settings):
    """Accuracy at one place of an axis, over seeds."""

    x: float
    accuracy: Estimate


class Target(Settings):
    """How many images it took to reach the plan's target accuracy.

    Attributes:
        reached: number of seeds that reached it, of `count`.
        images: over the seeds that reached it; None if none did.
        difference: images minus those of the reference, over the seeds that reached it in both; None for a reference,
            and if there is no such seed.
    """

    accuracy: float
    reached: int
    count: int
    images: Estimate | None
    difference: Estimate | None


class VariantResult(Settings):
    """A variant's figures over seeds.

    Attributes:
        assignments: what the variant changes.
        settings: all its settings, but for the seed.
        images: rollouts that each of its runs was to generate.
        difference: final accuracy minus that of the reference (see `Plan.references`), seed by seed; None for a
            reference itself.
        course: mean accuracy along the whole run, over images generated (see `statistics.curve_mean`).
        course_difference: that minus the reference's, seed by seed; None for a reference.
        training_seconds: useful work of a run; of complete runs only, None if there is none.
        seconds: wall-clock time of a run, likewise.
        diverged: rounds in which runs diverged, by seed.
        by_images, by_seconds: accuracy along both axes. A run that diverged keeps its last value.
    """

    name: str
    label: str
    assignments: dict[str, Any]
    settings: dict[str, Any]
    images: int
    final: Estimate
    soft: Estimate
    tasks: dict[str, Estimate]
    terms: dict[str, Estimate]
    difference: Estimate | None
    course: Estimate
    course_difference: Estimate | None
    training_seconds: Estimate | None
    seconds: Estimate | None
    diverged: dict[str, int]
    by_images: tuple[CurvePoint, ...]
    by_seconds: tuple[CurvePoint, ...]
    target: Target | None


class Comparison(Settings):
    """All of a comparison's outcome: enough to draw everything again.

    Attributes:
        name: the plan's short name, also of the MLflow experiment.
        common: what the plan changes for all variants, by dotted key.
        versions: code revision, packages and machine that made it.
    """

    name: str
    title: str
    view: Literal["lines", "heatmap", "pareto"]
    preset: str
    seeds: tuple[int, ...]
    grid: Grid | None
    pareto: Pareto | None
    common: dict[str, Any]
    versions: dict[str, str]
    variants: tuple[VariantResult, ...]
    cells: tuple[CellResult, ...]

    @property
    def measure(self) -> str:
        """What the variants are compared by, such as 'strict accuracy'; it is the same for all."""
        return self.cells[0].strict_label

    @property
    def limits(self) -> Interval | None:
        """What the measure cannot leave, where that is known: an interval over seeds may."""
        return (0.0, 1.0) if self.measure == _ACCURACY else None

    def cells_of(self, variant: str) -> list[CellResult]:
        """The runs of a variant, in order of seeds."""
        return [cell for cell in self.cells if cell.variant == variant]


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write comparison.json.

    Raises:
        StoreError: it cannot be written.
    """
    with writing(path):
        path.write_text(comparison.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_comparison(path: Path) -> Comparison:
    """Read comparison.json.

    Raises:
        StoreError: it is missing or cannot be read.
        DataError: it is not what write_comparison wrote.
    """
    with reading(path):
        text = path.read_text(encoding="utf-8")
    try:
        return Comparison.model_validate_json(text)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        remedy = "make it again with: advantageflow compare --resume " + str(path.parent)
        raise DataError(f"is no comparison of this version (see {place or 'its syntax'})", where=str(path),
                        remedy=remedy) from error  # fmt: skip
