"""From the results of all cells to the figures of every variant over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from advantageflow.errors import DataError
from advantageflow.suggestions import suggest
from advantageflow.tracking.provenance import provenance
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.plan import Plan, Variant
from advantageflow_experiments.compare.records import (
    CellResult,
    Comparison,
    CurvePoint,
    Estimate,
    Point,
    Target,
    VariantResult,
)
from advantageflow_experiments.compare.statistics import curve_mean, estimate, first_reached, mean_curve, paired
from advantageflow_pipelines.configuration.counts import images_of_a_run

Read = Callable[[Point], float]


def make_comparison(plan: Plan, cells: Sequence[Cell], results: Sequence[CellResult]) -> Comparison:
    """All of a comparison's figures.

    A run that diverged counts with its last evaluation: the policy that it had then is kept, and leaving the run out
    would flatter its variant. Its times are left out, as it was cut short.

    Args:
        plan: what was compared.
        cells: every run.
        results: of the same cells, in the same order.

    Raises:
        DataError: a metric of the plan is not among what the runs measured.
    """
    variants, references = plan.named_variants(), plan.references()
    for metric in (plan.pareto.x, plan.pareto.y) if plan.pareto else ():
        for result in results:
            metric_of(result.last, metric)
    return Comparison(
        name=cells[0].settings.tracking.experiment,
        title=plan.title,
        view=plan.view,
        preset=plan.preset or "own settings",
        seeds=plan.seeds,
        grid=plan.grid,
        pareto=plan.pareto,
        common=plan.common,
        versions=provenance(),
        variants=tuple(
            _variant(plan, name, variant, cells, results, reference=references[name])
            for name, variant in variants.items()
        ),
        cells=tuple(results),
    )


def metric_of(point: Point, name: str) -> float:
    """The value of a metric at an evaluation.

    Args:
        point: the evaluation.
        name: 'strict', 'soft', or a reward term.

    Raises:
        DataError: it was not measured; says which metrics were.
    """
    known = {"strict": point.strict, "soft": point.soft} | {key: term.mean for key, term in point.terms.items()}
    if name not in known:
        remedy = suggest(name, known, what="metrics of these runs")
        raise DataError(f"'{name}' was not measured", where="pareto", remedy=remedy)
    return known[name]


def uneven_starts(comparison: Comparison) -> str | None:
    """What is wrong where runs of one seed judged the base model differently; None where all agree.

    They start from the same model, prompts and noise, so on one machine the figures are equal to the last bit: if they
    are not, code, model or machine changed between the runs (a comparison that was continued later), or the device does
    not repeat its sums exactly (a GPU).
    """
    parts = []
    for seed in comparison.seeds:
        bases = {cell.variant: cell.points[0].strict for cell in comparison.cells if cell.seed == seed}
        low, high = min(bases, key=bases.__getitem__), max(bases, key=bases.__getitem__)
        if bases[low] != bases[high]:
            parts.append(f"seed {seed}: {bases[low]:.4f} in {low}, {bases[high]:.4f} in {high}")
    if not parts:
        return None
    return (
        f"The runs did not start equal: the base model's {comparison.measure} differs ({'; '.join(parts)}). Code, "
        "model or machine changed between them, or the device does not repeat its sums; beyond a few images, "
        "compare anew."
    )


def _variant(
    plan: Plan,
    name: str,
    variant: Variant,
    cells: Sequence[Cell],
    results: Sequence[CellResult],
    reference: str | None,
) -> VariantResult:
    mine = [result for result in results if result.variant == name]
    complete = [result for result in mine if result.status == "complete"]
    settings = next(cell.settings for cell in cells if cell.variant == name)
    images = images_of_a_run(settings)
    theirs = [result for result in results if result.variant == reference]
    by_images = [_by_images(result) for result in mine]

    def course(result: CellResult) -> float:
        return curve_mean(_by_images(result), images)

    def against_reference(read: Callable[[CellResult], float]) -> Estimate | None:
        if reference is None:
            return None
        return paired(*({result.seed: read(result) for result in runs} for runs in (mine, theirs)))

    return VariantResult(
        name=name,
        label=variant.label or name,
        assignments=variant.assignments,
        settings=settings.model_dump(mode="json", exclude={"seed"}),
        images=images,
        final=_over(mine, lambda point: point.strict),
        soft=_over(mine, lambda point: point.soft),
        tasks={task: _over(mine, lambda point, task=task: point.tasks[task]) for task in mine[0].last.tasks},  # type: ignore[misc]
        terms={term: _over(mine, lambda point, term=term: point.terms[term].mean) for term in mine[0].last.terms},  # type: ignore[misc]
        difference=against_reference(lambda result: result.last.strict),
        course=estimate([course(result) for result in mine]),
        course_difference=against_reference(course),
        training_seconds=_mean([result.last.training_seconds for result in complete]),
        seconds=_mean([result.seconds for result in complete]),
        diverged={str(one.seed): one.diverged_round or 0 for one in mine if one.status == "diverged"},
        by_images=_curve(mine, by_images),
        by_seconds=_curve(mine, [[(point.training_seconds, point.strict) for point in one.points] for one in mine]),
        target=None if plan.target is None else _target(mine, theirs, plan.target),
    )


def _over(results: Sequence[CellResult], read: Read) -> Estimate:
    """The estimate, over seeds, of what is read off each run's last evaluation."""
    return estimate([read(result.last) for result in results])


def _mean(values: Sequence[float]) -> Estimate | None:
    return estimate(values) if values else None


def _by_images(result: CellResult) -> list[tuple[float, float]]:
    return [(float(point.generated), point.strict) for point in result.points]


def _curve(results: Sequence[CellResult], curves: Sequence[list[tuple[float, float]]]) -> tuple[CurvePoint, ...]:
    return tuple(mean_curve(curves, [result.status == "complete" for result in results]))


def _target(mine: Sequence[CellResult], theirs: Sequence[CellResult], accuracy: float) -> Target:
    places, references = (
        {run.seed: place for run in runs if (place := first_reached(_by_images(run), accuracy)) is not None}
        for runs in (mine, theirs)
    )
    both = places.keys() & references.keys()
    return Target(
        accuracy=accuracy,
        reached=len(places),
        count=len(mine),
        images=_mean([*places.values()]),
        difference=paired({seed: places[seed] for seed in both}, references) if both else None,
    )
