"""The tables of a comparison: Markdown for a page, a shorter one for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from advantageflow.store.files import writing
from advantageflow_experiments.compare.comparison import Comparison, VariantResult
from advantageflow_experiments.compare.statistics import Estimate, estimate

_NONE = "-"
_HOW = (
    "Intervals: 95 %, Student's t over seeds. Differences are paired: runs of one seed share prompts, noise and "
    "held-out images. Useful seconds: rollouts (slowest shard), rewards and training, without evaluation and start-up."
)
_COURSE = (
    "Mean over the run: the area under accuracy over images generated, divided by all images; it counts how early a "
    "run learns too, and scatters less than a single evaluation."
)
_DIVERGED = (
    "A run that diverged (its weights or images were no longer finite) counts with its last evaluation before that, "
    "and its times are left out."
)


def write_tables(path: Path, comparison: Comparison) -> None:
    """Write table.md: the overall table, the one by task, and what the figures mean.

    Raises:
        StoreError: it cannot be written.
    """
    parts = [f"# {comparison.plan.title}", overall_table(comparison)]
    variants = comparison.variants
    if any(variant.terms for variant in variants):
        terms = list(dict.fromkeys(term for variant in variants for term in variant.terms))
        rows = [[one.label, *(_figure(one.terms.get(term)) for term in terms)] for one in variants]
        parts += ["## Rewards on held-out prompts", _markdown(["variant", *terms], rows)]
    if variants[0].untrained:
        base = comparison.cells_of(variants[0].name)
        bases = [estimate([run.points[0].untrained[measure] for run in base]) for measure in variants[0].untrained]
        level = f"At equal reward ({comparison.common_reward:.3f}, the highest that all runs reached)"
        ends = [[one.label, *_against(one.untrained, one.untrained_differences)] for one in variants]
        equal = [[one.label, *_against(one.at_reward, one.at_reward_differences)] for one in variants]
        head = ["variant", *(measure.replace("_", " ") for measure in variants[0].untrained)]
        parts += ["## What was not trained on", f"In brackets the difference to {variants[0].label}.", "At the end:",
                  _markdown(head, [["base model", *map(_figure, bases)], *ends]), f"{level}:",
                  _markdown(head, equal)]  # fmt: skip
    parts += [f"## {comparison.measure.capitalize()} by task", tasks_table(comparison)]
    parts += ["## How to read this", *_notes(comparison)]
    with writing(path):
        path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def overall_table(comparison: Comparison) -> str:
    """Accuracy, difference (see `Plan.references`), cost and divergence of every variant, in Markdown."""
    return _markdown(*_overall(comparison))


def tasks_table(comparison: Comparison) -> str:
    """Accuracy of every variant by task, and of the base model, in Markdown."""
    base = comparison.base_tasks()
    rows = [["base model", *(f"{accuracy:.3f}" for accuracy in base.values())]]
    rows += [[variant.label, *(_figure(variant.tasks[task]) for task in base)] for variant in comparison.variants]
    return _markdown(["variant", *(task.replace("_", " ") for task in base)], rows)


def show_table(console: Console, comparison: Comparison) -> None:
    """Print the overall figures that matter most."""
    head, rows = _overall(comparison)
    shown = [0, 1, 2, head.index("useful seconds"), head.index("diverged")]
    table = Table(title=f"on held-out images, {comparison.spread}", title_justify="left")
    for column in shown:
        figures = 14 if column in (1, 2) else None  # such as '+0.167 ± 0.143', never in two lines
        table.add_column(head[column], justify="right" if column else "left", min_width=figures)
    for row in rows:
        table.add_row(*(row[column] for column in shown))
    console.print(table)


def _overall(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the overall table."""
    against = f"against {_reference(comparison)}"
    soft, target, with_courses = comparison.cells[0].soft_label, comparison.plan.target, _has_courses(comparison)
    rows = []
    for one in comparison.variants:
        row = {"variant": [one.label], comparison.measure: [_figure(one.final), _signed(one.difference)]}
        if with_courses:
            row["mean over the run"] = [_figure(one.course), _signed(one.course_difference)]
        if soft is not None:
            row[soft] = [_figure(one.soft)]
        row["images"] = [f"{comparison.images:,}"]
        if target is not None:
            row[f"images to {target:g}"] = [_to_target(one), _signed(one.to_target_difference, ",.0f")]
        row |= {"useful seconds": [_seconds(one.training_seconds)], "all seconds": [_seconds(one.seconds)]}
        row["diverged"] = [", ".join(f"seed {seed} in round {at}" for seed, at in one.diverged.items()) or _NONE]
        rows.append(row)
    head = [name for column, cells in rows[0].items() for name in (column, against)[: len(cells)]]
    return head, [[cell for cells in row.values() for cell in cells] for row in rows]


def _reference(comparison: Comparison) -> str:
    """What the differences are to: the first variant, in a grid that of the same row."""
    grid = comparison.plan.grid
    return comparison.variants[0].label if grid is None else f"{next(iter(grid.columns.options))} of the row"


def _has_courses(comparison: Comparison) -> bool:
    """Whether means over runs say something: runs are drawn as curves."""
    return not (comparison.plan.grid or comparison.plan.pareto)


def _to_target(variant: VariantResult) -> str:
    """Such as '3,100 ± 240, 1 of 3 never'."""
    found, count = variant.to_target, variant.final.count
    missing = count - (found.count if found else 0)
    images = "" if found is None else f"{found.mean:,.0f}{_reach(found, ',.0f')}"
    return ", ".join(filter(None, [images, f"{missing} of {count} never" if missing else ""]))


def _notes(comparison: Comparison) -> list[str]:
    """What the figures are of, and what they mean, paragraph by paragraph."""
    plan, uneven = comparison.plan, comparison.uneven_starts()
    versions = ", ".join(f"{name.removeprefix('version.')} {value}" for name, value in comparison.versions.items()
                         if name.startswith("version.") or name == "python")  # fmt: skip
    changes = [f"- all: {_changes(plan.common)}"]
    changes += [f"- {one.label or name}: {_changes(one.assignments)}" for name, one in plan.variants.items()]
    made = f"Preset {plan.preset or 'none'}, seeds {', '.join(map(str, plan.seeds))}. {_one_seed(comparison)}{_HOW}"
    notes = [
        f"**{uneven}**" if uneven else "",
        made,
        _COURSE if _has_courses(comparison) else "",
        _DIVERGED if any(variant.diverged for variant in comparison.variants) else "",
        "Settings changed:",
        "\n".join(changes),
        f"Made with {versions}.",
    ]
    return [note for note in notes if note]


def _one_seed(comparison: Comparison) -> str:
    """How sure a single run's figure is, where there is no spread over seeds."""
    if len(comparison.plan.seeds) > 1:
        return ""
    reaches = [(cell.last.strict_ci95[1] - cell.last.strict_ci95[0]) / 2 for cell in comparison.cells]
    reach = sum(reaches) / len(reaches)
    return f"One seed: the accuracy of a run is known to about ± {reach:.3f} (95 %, over its held-out images). "


def _changes(assignments: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}={json.dumps(value)}`" for key, value in assignments.items()) or "nothing"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _figure(value: Estimate | None) -> str:
    return _NONE if value is None else f"{value.mean:.3f}{_reach(value, '.3f')}"


def _against(values: Mapping[str, Estimate], differences: Mapping[str, Estimate | None]) -> list[str]:
    """Each figure, and in brackets its difference to the reference's."""
    return [
        _figure(values.get(measure)) + (f" ({_signed(one)})" if one is not None else "")
        for measure, one in differences.items()
    ]


def _signed(value: Estimate | None, form: str = ".3f") -> str:
    return _NONE if value is None else f"{value.mean:+{form}}{_reach(value, form)}"


def _reach(value: Estimate, form: str) -> str:
    return "" if value.ci95 is None else f" ± {value.ci95[1] - value.mean:{form}}"


def _seconds(value: Estimate | None) -> str:
    return _NONE if value is None else f"{value.mean:.0f}"
