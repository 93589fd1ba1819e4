"""What a comparison found, as comparison.json holds it: every run's evaluations, every variant's figures over seeds."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advantageflow.errors import DataError
from advantageflow.store.files import reading, writing
from advantageflow_experiments.compare.plan import Plan

Interval = tuple[float, float]
Curve = list[tuple[float, float]]
"""Places of a run's evaluations (images or seconds) with the accuracies there."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Estimate(_Record):
    """A mean over seeds.

    Attributes:
        ci95: its 95 % interval by Student's t; None where a single seed tells nothing about the spread.
        count: number of seeds.
    """

    mean: float
    ci95: Interval | None
    count: int


class Measured(_Record):
    """A mean over the images of one evaluation, with its 95 % interval; and whether more of it is better."""

    mean: float
    ci95: Interval
    higher_is_better: bool = True


class Point(_Record):
    """One evaluation of one run.

    Attributes:
        round: after which it was made; 0 for the base model.
        generated: rollouts generated up to there.
        training_seconds: useful work up to there, without evaluation and start-up.
        strict, soft, tasks: as in summary.json.
        terms: the reward terms by name, such as 'jpeg.compressibility'; empty where there is only one.
    """

    round: int = 0
    generated: int = 0
    training_seconds: float = 0.0
    strict: float
    strict_ci95: Interval
    soft: float
    tasks: dict[str, float]
    terms: dict[str, Measured] = Field(default_factory=dict)

    def value(self, metric: str) -> float:
        """The mean of 'strict', 'soft' or a reward term."""
        return self.terms[metric].mean if metric in self.terms else float(getattr(self, metric))


class CellResult(_Record):
    """What one run came to.

    Attributes:
        diverged_round: in which its training or its policy was no longer finite; None for a run that is complete.
        reason: the run's own words for that.
        points: its evaluations, the base model's first; of a diverged run, those before it diverged.
        seconds: wall-clock time of the whole run, evaluations and start-up included; of all its attempts.
        strict_label, soft_label: what its points' strict and soft are; of a reward without such columns, the column
            that stands in for them. None where soft is the same as strict.
    """

    variant: str
    seed: int
    diverged_round: int | None = None
    reason: str = ""
    points: tuple[Point, ...] = Field(min_length=1)
    seconds: float
    strict_label: str
    soft_label: str | None

    @property
    def last(self) -> Point:
        """Its last evaluation: what it counts with, also when it diverged later."""
        return self.points[-1]

    @property
    def by_images(self) -> Curve:
        """Accuracy over rollouts generated."""
        return [(float(point.generated), point.strict) for point in self.points]

    @property
    def by_seconds(self) -> Curve:
        """Accuracy over seconds of useful work."""
        return [(point.training_seconds, point.strict) for point in self.points]


class CurvePoint(_Record):
    """Accuracy at one place of an axis, over seeds."""

    x: float
    accuracy: Estimate


class VariantResult(_Record):
    """A variant's figures over seeds.

    Attributes:
        images: rollouts that each of its runs was to generate.
        difference: final accuracy minus that of the reference (see `Plan.references`), seed by seed; None for a
            reference itself.
        course: mean accuracy along the whole run, over images generated (see `statistics.curve_mean`).
        course_difference: that minus the reference's, seed by seed; None for a reference.
        training_seconds: useful work of a run; of complete runs only, None if there is none.
        seconds: wall-clock time of a run, likewise.
        diverged: rounds in which runs diverged, by seed.
        by_images, by_seconds: accuracy along both axes. A run that diverged keeps its last value.
        to_target: images it took to reach the plan's target accuracy, over the seeds that reached it.
        to_target_difference: that minus the reference's, over the seeds that reached it in both.
    """

    name: str
    label: str
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
    diverged: dict[int, int]
    by_images: tuple[CurvePoint, ...]
    by_seconds: tuple[CurvePoint, ...]
    to_target: Estimate | None
    to_target_difference: Estimate | None


class Comparison(_Record):
    """All of a comparison's outcome: enough to draw everything again.

    Attributes:
        name: the plan's short name, also of the MLflow experiment.
        versions: code revision, packages and machine that made it.
    """

    name: str
    plan: Plan
    versions: dict[str, str]
    variants: tuple[VariantResult, ...]
    cells: tuple[CellResult, ...]

    @property
    def measure(self) -> str:
        """What the variants are compared by, such as 'strict accuracy'; it is the same for all."""
        return self.cells[0].strict_label

    @property
    def spread(self) -> str:
        """What the figures are of."""
        seeds = len(self.plan.seeds)
        return "one seed" if seeds == 1 else f"mean of {seeds} seeds"

    def cells_of(self, variant: str) -> list[CellResult]:
        """The runs of a variant, in order of seeds."""
        return [cell for cell in self.cells if cell.variant == variant]

    def base_tasks(self) -> dict[str, float]:
        """The base model's accuracy by task, mean over seeds (of the first variant: it is the same for all)."""
        points = [cell.points[0] for cell in self.cells_of(self.variants[0].name)]
        return {task: sum(point.tasks[task] for point in points) / len(points) for task in points[0].tasks}


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
        message = f"is not a comparison of this version (see {place or 'its syntax'})"
        remedy = f"make it again with: advantageflow compare --resume {path.parent}"
        raise DataError(message, where=str(path), remedy=remedy) from error
