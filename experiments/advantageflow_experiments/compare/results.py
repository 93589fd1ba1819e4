"""From the results of all cells to the figures of every variant over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from advantageflow.tracking.provenance import provenance
from advantageflow_experiments.compare.cells import Cell
from advantageflow_experiments.compare.comparison import CellResult, Comparison, Estimate, VariantResult
from advantageflow_experiments.compare.plan import Plan
from advantageflow_experiments.compare.statistics import curve_mean, estimate, first_reached, mean_curve, paired
from advantageflow_pipelines.configuration.counts import images_of_a_run


def make_comparison(plan: Plan, cells: Sequence[Cell], results: Sequence[CellResult]) -> Comparison:
    """All of a comparison's figures.

    A run that diverged counts with its last evaluation: the policy that it had then is kept, and leaving the run out
    would flatter its variant. Its times are left out, as it was cut short.

    Args:
        plan: what was compared.
        cells: every run.
        results: of the same cells, in the same order.
    """
    references, images = plan.references(), images_of_a_run(cells[0].settings)
    by_variant = {name: [result for result in results if result.variant == name] for name in references}
    return Comparison(
        name=cells[0].settings.tracking.experiment,
        plan=plan,
        versions=provenance(),
        variants=tuple(
            _variant(plan, name, images, by_variant[name], by_variant.get(reference or "", []))
            for name, reference in references.items()
        ),
        cells=tuple(results),
    )


def uneven_starts(comparison: Comparison) -> str | None:
    """What is wrong where runs of one seed judged the base model differently; None where all agree.

    They start from the same model, prompts and noise, so on one machine the figures are equal to the last bit: if they
    are not, code, model or machine changed between the runs (a comparison that was continued later), or the device does
    not repeat its sums exactly (a GPU).
    """
    parts = []
    for seed in comparison.plan.seeds:
        bases = sorted((cell.points[0].strict, cell.variant) for cell in comparison.cells if cell.seed == seed)
        (low, one), (high, other) = bases[0], bases[-1]
        if low != high:
            parts.append(f"seed {seed}: {low:.4f} in {one}, {high:.4f} in {other}")
    if not parts:
        return None
    return (
        f"The runs did not start equal: the base model's {comparison.measure} differs ({'; '.join(parts)}). Code, "
        "model or machine changed between them, or the device does not repeat its sums; beyond a few images, "
        "compare anew."
    )


def _variant(
    plan: Plan, name: str, images: int, mine: Sequence[CellResult], reference: Sequence[CellResult]
) -> VariantResult:
    last = [run.last for run in mine]
    whole = [run.diverged_round is None for run in mine]
    complete = [run for run in mine if run.diverged_round is None]

    def course(run: CellResult) -> float:
        return curve_mean(run.by_images, images)

    def against_reference(read: Callable[[CellResult], float]) -> Estimate | None:
        return paired(*({run.seed: read(run) for run in runs} for runs in (mine, reference)))

    to_target, reference_to_target = (_images_to(plan.target, runs) for runs in (mine, reference))
    return VariantResult(
        name=name,
        label=plan.named_variants()[name].label or name,
        images=images,
        final=estimate([point.strict for point in last]),
        soft=estimate([point.soft for point in last]),
        tasks={task: estimate([point.tasks[task] for point in last]) for task in last[0].tasks},
        terms={term: estimate([point.terms[term].mean for point in last]) for term in last[0].terms},
        difference=against_reference(lambda run: run.last.strict),
        course=estimate([course(run) for run in mine]),
        course_difference=against_reference(course),
        training_seconds=estimate([run.last.training_seconds for run in complete]) if complete else None,
        seconds=estimate([run.seconds for run in complete]) if complete else None,
        diverged={run.seed: run.diverged_round for run in mine if run.diverged_round is not None},
        by_images=mean_curve([run.by_images for run in mine], whole),
        by_seconds=mean_curve([run.by_seconds for run in mine], whole),
        to_target=estimate([*to_target.values()]) if to_target else None,
        to_target_difference=paired(to_target, reference_to_target),
    )


def _images_to(target: float | None, runs: Sequence[CellResult]) -> dict[int, float]:
    """Images that each run took to the target, by seed; without those that never reached it."""
    if target is None:
        return {}
    places = {run.seed: first_reached(run.by_images, target) for run in runs}
    return {seed: place for seed, place in places.items() if place is not None}
