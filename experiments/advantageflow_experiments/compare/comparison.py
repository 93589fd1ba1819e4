"""What a comparison found: every run's evaluations, as comparison.json holds them, and variants' figures over seeds."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from advantageflow.store.files import writing
from advantageflow_experiments.compare import statistics as figures
from advantageflow_experiments.compare.plan import Plan


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Measured(_Record):
    """A mean over the images of one evaluation, with its 95 % interval; and whether more of it is better."""

    mean: float
    ci95: figures.Interval
    higher_is_better: bool = True


class Point(_Record):
    """One evaluation of one run."""

    round: int = 0  # after which it was made; 0 for the base model
    generated: int = 0  # rollouts generated up to there
    training_seconds: float = 0.0  # useful work up to there, without evaluation and start-up
    strict: float  # as in summary.json
    strict_ci95: figures.Interval
    soft: float
    tasks: dict[str, float]
    # the reward terms by name, such as 'jpeg.compressibility'; empty where there is only one
    terms: dict[str, Measured] = Field(default_factory=dict)
    watched: dict[str, Measured] = Field(default_factory=dict)  # rewards that were not trained on, by name
    # of the images, where rewards are watched: the evaluation's own, and 'distance from the base', the root mean square
    # difference of fixed pictures from those of the base model
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
    """What one run came to."""

    variant: str
    seed: int
    # in which its training or its policy was no longer finite; None for a run that is complete
    diverged_round: int | None = None
    reason: str = ""  # the run's own words for that
    # its evaluations, the base model's first; of a diverged run, those before it diverged
    points: tuple[Point, ...] = Field(min_length=1)
    seconds: float  # wall-clock time of the whole run, evaluations and start-up included; of all its attempts
    # what its points' strict and soft are; of a reward without such columns, the column that stands in for them. None
    # where soft is the same as strict.
    strict_label: str
    soft_label: str | None

    @property
    def last(self) -> Point:
        """Its last evaluation: what it counts with, also when it diverged later."""
        return self.points[-1]

    @property
    def by_images(self) -> figures.Curve:
        """Accuracy over rollouts generated."""
        return [(float(point.generated), point.strict) for point in self.points]

    @property
    def by_seconds(self) -> figures.Curve:
        """Accuracy over seconds of useful work."""
        return [(point.training_seconds, point.strict) for point in self.points]


Read = Callable[[CellResult], float | None]
"""A figure of a run; None where it has none."""


class Comparison(_Record):
    """All of a comparison's outcome: enough to draw everything again."""

    name: str  # the plan's short name, also of the MLflow experiment
    plan: Plan
    images: int  # rollouts that each run was to generate
    versions: dict[str, str]  # code revision, packages and machine that made it
    cells: tuple[CellResult, ...]  # every run, in the plan's order

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

    @property
    def labels(self) -> dict[str, str]:
        """What tables and pictures call each variant, by its name, in the plan's order."""
        return {name: variant.label or name for name, variant in self.plan.named_variants().items()}

    @property
    def untrained(self) -> list[str]:
        """What was measured beside the rewards that were trained on."""
        return [*self.cells[0].last.untrained]

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

    def over(self, variant: str, read: Read) -> figures.Estimate | None:
        """A figure of a variant's runs over seeds; None where no run has it.

        A run that diverged counts with its last evaluation: the policy that it had then is kept, and leaving the run
        out would flatter its variant.
        """
        values = [value for run in self.cells_of(variant) if (value := read(run)) is not None]
        return figures.estimate(values) if values else None

    def against(self, variant: str, read: Read) -> figures.Estimate | None:
        """The figure minus that of the variant's reference (see `Plan.references`), seed by seed; None for itself."""
        pairs = [
            {run.seed: value for run in self.cells_of(name) if (value := read(run)) is not None}
            for name in (variant, self.plan.references()[variant])
        ]
        return figures.paired(*pairs)

    def diverged(self, variant: str) -> dict[int, int]:
        """Rounds in which runs of a variant diverged, by seed."""
        return {run.seed: run.diverged_round for run in self.cells_of(variant) if run.diverged_round is not None}

    def curve(self, variant: str, axis: Literal["by_images", "by_seconds"]) -> tuple[figures.CurvePoint, ...]:
        """A variant's mean accuracy along an axis; a run that diverged keeps its last value."""
        runs = self.cells_of(variant)
        return figures.mean_curve([getattr(run, axis) for run in runs], [run.diverged_round is None for run in runs])

    def course(self, run: CellResult) -> float:
        """A run's mean accuracy along the way, over images generated: see `statistics.curve_mean`."""
        return figures.curve_mean(run.by_images, self.images)

    def images_to_target(self, run: CellResult) -> float | None:
        """Images that a run took to the plan's target accuracy; None if it never reached it."""
        return None if self.plan.target is None else figures.first_reached(run.by_images, self.plan.target)

    def seconds_to_target(self, run: CellResult) -> float | None:
        """Seconds of useful work that it took."""
        return None if self.plan.target is None else figures.first_reached(run.by_seconds, self.plan.target)

    def at_common_reward(self, measure: str) -> Read:
        """An untrained measure where a run's soft reward first reached the highest level that all runs reached."""
        level = self.common_reward
        return lambda run: figures.first_reached([(one.untrained[measure], one.soft) for one in run.points], level)


def final(run: CellResult) -> float:
    """The accuracy that a run ended with."""
    return run.last.strict


def untrained(measure: str) -> Read:
    """A measure that was not trained on, at the end of a run."""
    return lambda run: run.last.untrained[measure]


def useful_seconds(run: CellResult) -> float | None:
    """Of a complete run; one that diverged was cut short."""
    return run.last.training_seconds if run.diverged_round is None else None


def all_seconds(run: CellResult) -> float | None:
    """Wall-clock time of a complete run."""
    return run.seconds if run.diverged_round is None else None


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write comparison.json; StoreError if it cannot be written."""
    with writing(path):
        path.write_text(comparison.model_dump_json(indent=2) + "\n", encoding="utf-8")
