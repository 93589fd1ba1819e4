"""What a comparison found: every run's evaluations, as comparison.json holds them, and every variant's figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advantageflow.errors import DataError
from advantageflow.store.files import reading, writing
from advantageflow_experiments.compare.plan import Plan
from advantageflow_experiments.compare.statistics import (
    Curve,
    CurvePoint,
    Estimate,
    Interval,
    curve_mean,
    estimate,
    first_reached,
    mean_curve,
    paired,
)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


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
        watched: rewards that were not trained on, by name.
        statistics: of the images, where rewards are watched: the evaluation's own, and 'distance from the base', the
            root mean square difference of fixed pictures from those of the base model.
    """

    round: int = 0
    generated: int = 0
    training_seconds: float = 0.0
    strict: float
    strict_ci95: Interval
    soft: float
    tasks: dict[str, float]
    terms: dict[str, Measured] = Field(default_factory=dict)
    watched: dict[str, Measured] = Field(default_factory=dict)
    statistics: dict[str, float] = Field(default_factory=dict)

    @property
    def untrained(self) -> dict[str, float]:
        """All that training did not aim at."""
        return {name: one.mean for name, one in self.watched.items()} | self.statistics

    def measured(self, metric: str) -> Measured | None:
        """The reward term or watched reward of this name."""
        return self.terms.get(metric) or self.watched.get(metric)

    def value(self, metric: str) -> float:
        """The mean of 'strict', 'soft' or a reward."""
        found = self.measured(metric)
        return float(getattr(self, metric)) if found is None else found.mean


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

    def at_reward(self, measure: str, soft: float) -> float | None:
        """An untrained measure where the soft reward first reached a level, linear between evaluations."""
        return first_reached([(point.untrained[measure], point.soft) for point in self.points], soft)


@dataclass(frozen=True)
class VariantResult:
    """A variant's figures over seeds; differences to a reference (see `Plan.references`) are seed by seed.

    A run that diverged counts with its last evaluation: the policy that it had then is kept, and leaving the run out
    would flatter its variant. Its times are left out, as it was cut short.

    Attributes:
        difference: final accuracy minus that of the reference; None for a reference itself.
        course: mean accuracy along the whole run, over images generated (see `statistics.curve_mean`).
        course_difference: that minus the reference's.
        untrained, untrained_differences: by measure, at the end.
        at_reward, at_reward_differences: by measure, where the run's soft reward first reached the highest level that
            all runs reached.
        training_seconds, seconds: useful work and wall-clock time of a complete run; None if there is none.
        diverged: rounds in which runs diverged, by seed.
        by_images, by_seconds: accuracy along both axes. A run that diverged keeps its last value.
        to_target, to_target_difference: images it took to the plan's target accuracy, over the seeds that reached it.
    """

    name: str
    label: str
    final: Estimate
    soft: Estimate
    tasks: dict[str, Estimate]
    terms: dict[str, Estimate]
    difference: Estimate | None
    course: Estimate
    course_difference: Estimate | None
    untrained: dict[str, Estimate]
    untrained_differences: dict[str, Estimate | None]
    at_reward: dict[str, Estimate]
    at_reward_differences: dict[str, Estimate | None]
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
        images: rollouts that each run was to generate.
        versions: code revision, packages and machine that made it.
        cells: every run, in the plan's order.
    """

    name: str
    plan: Plan
    images: int
    versions: dict[str, str]
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

    @property
    def common_reward(self) -> float:
        """The highest soft reward that every run reached."""
        return min(max(point.soft for point in cell.points) for cell in self.cells)

    @cached_property
    def variants(self) -> tuple[VariantResult, ...]:
        """Every variant's figures, in the plan's order."""
        return tuple(self._variant(name, reference) for name, reference in self.plan.references().items())

    def cells_of(self, variant: str | None) -> list[CellResult]:
        """The runs of a variant, in order of seeds."""
        return [cell for cell in self.cells if cell.variant == variant]

    def base_tasks(self) -> dict[str, float]:
        """The base model's accuracy by task, mean over seeds (of the first variant: it is the same for all)."""
        points = [cell.points[0] for cell in self.cells_of(self.cells[0].variant)]
        return {task: sum(point.tasks[task] for point in points) / len(points) for task in points[0].tasks}

    def uneven_starts(self) -> str | None:
        """What is wrong where runs of one seed judged the base model differently; None where all agree.

        They start from the same model, prompts and noise, so on one machine the figures are equal to the last bit: if
        they are not, code, model or machine changed between the runs (a comparison that was continued later), or the
        device does not repeat its sums exactly (a GPU).
        """
        parts = []
        for seed in self.plan.seeds:
            bases = sorted((cell.points[0].strict, cell.variant) for cell in self.cells if cell.seed == seed)
            (low, one), (high, other) = bases[0], bases[-1]
            if low != high:
                parts.append(f"seed {seed}: {low:.4f} in {one}, {high:.4f} in {other}")
        if not parts:
            return None
        return (
            f"The runs did not start equal: the base model's {self.measure} differs ({'; '.join(parts)}). Code, model "
            "or machine changed between them, or the device does not repeat its sums; beyond a few images, compare "
            "anew."
        )

    def _variant(self, name: str, reference: str | None) -> VariantResult:
        mine, theirs = self.cells_of(name), self.cells_of(reference)
        last = [run.last for run in mine]
        whole = [run.diverged_round is None for run in mine]
        complete = [run for run in mine if run.diverged_round is None]
        level = self.common_reward

        def against(read: Callable[[CellResult], float | None]) -> Estimate | None:
            return paired(*({run.seed: value for run in runs if (value := read(run)) is not None}
                            for runs in (mine, theirs)))  # fmt: skip

        def over(read: Callable[[CellResult], float | None]) -> Estimate | None:
            values = [value for run in mine if (value := read(run)) is not None]
            return estimate(values) if values else None

        def course(run: CellResult) -> float:
            return curve_mean(run.by_images, self.images)

        def to_target(run: CellResult) -> float | None:
            return None if self.plan.target is None else first_reached(run.by_images, self.plan.target)

        measures = [*last[0].untrained]
        ends = {one: lambda run, one=one: run.last.untrained[one] for one in measures}
        equal = {one: lambda run, one=one: run.at_reward(one, level) for one in measures}
        return VariantResult(
            name=name,
            label=self.plan.named_variants()[name].label or name,
            final=estimate([point.strict for point in last]),
            soft=estimate([point.soft for point in last]),
            tasks={task: estimate([point.tasks[task] for point in last]) for task in last[0].tasks},
            terms={term: estimate([point.terms[term].mean for point in last]) for term in last[0].terms},
            difference=against(lambda run: run.last.strict),
            course=estimate([course(run) for run in mine]),
            course_difference=against(course),
            untrained={one: estimate([read(run) for run in mine]) for one, read in ends.items()},
            untrained_differences={one: against(read) for one, read in ends.items()},
            at_reward={one: found for one, read in equal.items() if (found := over(read))},
            at_reward_differences={one: against(read) for one, read in equal.items()},
            training_seconds=estimate([run.last.training_seconds for run in complete]) if complete else None,
            seconds=estimate([run.seconds for run in complete]) if complete else None,
            diverged={run.seed: run.diverged_round for run in mine if run.diverged_round is not None},
            by_images=mean_curve([run.by_images for run in mine], whole),
            by_seconds=mean_curve([run.by_seconds for run in mine], whole),
            to_target=over(to_target),
            to_target_difference=against(to_target),
        )


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write comparison.json; StoreError if it cannot be written."""
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
