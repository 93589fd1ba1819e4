"""The tables of a comparison: Markdown for a page, a shorter one for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from advantageflow.store.files import writing
from advantageflow_experiments.compare.records import Comparison, Estimate, Target, VariantResult
from advantageflow_experiments.compare.results import uneven_starts

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
    parts = [f"# {comparison.title}", overall_table(comparison)]
    if _terms(comparison):
        parts += ["## Rewards on held-out prompts", terms_table(comparison)]
    parts += [
        f"## {comparison.measure.capitalize()} by task",
        tasks_table(comparison),
        "## How to read this",
        _notes(comparison),
    ]
    with writing(path):
        path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def overall_table(comparison: Comparison) -> str:
    """Accuracy, difference (see `Plan.references`), cost and divergence of every variant, in Markdown."""
    targets = [variant.target for variant in comparison.variants if variant.target]
    against = f"against {_reference(comparison)}"
    head = ["variant", comparison.measure, against]
    head += ["mean over the run", against] if _has_courses(comparison) else []
    head += [*_soft_name(comparison), "images"]
    head += [f"images to {targets[0].accuracy:g}", against] if targets else []
    head += ["useful seconds", "all seconds", "diverged"]
    return _markdown(head, [_overall_row(comparison, variant) for variant in comparison.variants])


def tasks_table(comparison: Comparison) -> str:
    """Accuracy of every variant by task, and of the base model, in Markdown."""
    tasks = list(comparison.variants[0].tasks)
    base = [cell.points[0] for cell in comparison.cells_of(comparison.variants[0].name)]
    rows = [["base model", *(f"{sum(p.tasks[task] for p in base) / len(base):.3f}" for task in tasks)]]
    rows += [[variant.label, *(_figure(variant.tasks[task]) for task in tasks)] for variant in comparison.variants]
    return _markdown(["variant", *(task.replace("_", " ") for task in tasks)], rows)


def terms_table(comparison: Comparison) -> str:
    """Every reward term of every variant, in Markdown."""
    terms = _terms(comparison)
    rows = [
        [variant.label, *(_figure(variant.terms[term]) if term in variant.terms else _NONE for term in terms)]
        for variant in comparison.variants
    ]
    return _markdown(["variant", *terms], rows)


def show_table(console: Console, comparison: Comparison) -> None:
    """Print the overall figures."""
    seeds = len(comparison.seeds)
    title = f"{comparison.measure} on held-out images, {'one seed' if seeds == 1 else f'{seeds} seeds, 95% intervals'}"
    table = Table(title=title, title_justify="left")
    table.add_column("variant")
    first = "against the first" if comparison.grid is None else "against the row's first"
    for name in ("accuracy", first, "useful s", "diverged"):
        table.add_column(name, justify="right", no_wrap=True)
    for variant in comparison.variants:
        table.add_row(
            variant.label,
            _figure(variant.final),
            _signed(variant.difference),
            _seconds(variant.training_seconds),
            f"{len(variant.diverged)} of {seeds}" if variant.diverged else _NONE,
        )
    console.print(table)


def _reference(comparison: Comparison) -> str:
    """What the differences are to: the first variant, in a grid that of the same row."""
    if comparison.grid is None:
        return comparison.variants[0].label
    columns = comparison.grid.columns
    return f"{columns.label_of(next(iter(columns.choices())))} of the row"


def _terms(comparison: Comparison) -> list[str]:
    """The reward terms that any variant measured."""
    return list(dict.fromkeys(term for variant in comparison.variants for term in variant.terms))


def _has_courses(comparison: Comparison) -> bool:
    """Whether means over runs say something: runs are curves, over equally many images."""
    return comparison.view == "lines" and len({variant.images for variant in comparison.variants}) == 1


def _overall_row(comparison: Comparison, variant: VariantResult) -> list[str]:
    row = [variant.label, _figure(variant.final), _signed(variant.difference)]
    row += [_figure(variant.course), _signed(variant.course_difference)] if _has_courses(comparison) else []
    row += [*([_figure(variant.soft)] if _soft_name(comparison) else []), f"{variant.images:,}"]
    if variant.target is not None:
        row += [_target(variant.target), _signed(variant.target.difference, ",.0f")]
    return [*row, _seconds(variant.training_seconds), _seconds(variant.seconds), _diverged(variant)]


def _soft_name(comparison: Comparison) -> list[str]:
    """The second column's name, if there is one."""
    name = comparison.cells[0].soft_label
    return [] if name is None else [name]


def _target(target: Target) -> str:
    """Such as '3,100 ± 240, 1 of 3 never'."""
    images = f"{target.images.mean:,.0f}{_reach(target.images, ',.0f')}" if target.images else ""
    missing = target.count - target.reached
    return ", ".join(filter(None, [images, f"{missing} of {target.count} never" if missing else ""]))


def _notes(comparison: Comparison) -> str:
    seeds = ", ".join(map(str, comparison.seeds))
    versions = ", ".join(f"{name.removeprefix('version.')} {value}" for name, value in comparison.versions.items()
                         if name.startswith("version.") or name == "python")  # fmt: skip
    changes = [f"- all: {_changes(comparison.common)}"]
    if comparison.grid is None:
        changes += [f"- {variant.label}: {_changes(variant.assignments)}" for variant in comparison.variants]
    notes = [f"Preset {comparison.preset}, seeds {seeds}. {_one_seed(comparison)}{_HOW}"]
    notes += [_COURSE] if _has_courses(comparison) else []
    if any(variant.diverged for variant in comparison.variants):
        notes.append(_DIVERGED)
    uneven = uneven_starts(comparison)
    if uneven is not None:
        notes.insert(0, f"**{uneven}**")
    notes += ["Settings changed:", "\n".join(changes), f"Made with {versions}."]
    return "\n\n".join(notes)


def _one_seed(comparison: Comparison) -> str:
    """How sure a single run's figure is, where there is no spread over seeds."""
    if len(comparison.seeds) > 1:
        return ""
    reaches = [(cell.last.strict_ci95[1] - cell.last.strict_ci95[0]) / 2 for cell in comparison.cells]
    reach = sum(reaches) / len(reaches)
    return f"One seed: the accuracy of a run is known to about ± {reach:.3f} (95 %, over its held-out images). "


def _changes(assignments: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}={json.dumps(value)}`" for key, value in assignments.items()) or "nothing"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _figure(value: Estimate) -> str:
    return f"{value.mean:.3f}{_reach(value, '.3f')}"


def _reach(value: Estimate, form: str) -> str:
    return "" if value.ci95 is None else f" ± {format(value.ci95[1] - value.mean, form)}"


def _signed(value: Estimate | None, form: str = ".3f") -> str:
    return _NONE if value is None else f"{format(value.mean, '+' + form)}{_reach(value, form)}"


def _seconds(value: Estimate | None) -> str:
    return _NONE if value is None else f"{value.mean:.0f}"


def _diverged(variant: VariantResult) -> str:
    """Such as 'seed 1 in round 3'."""
    return ", ".join(f"seed {seed} in round {number}" for seed, number in variant.diverged.items()) or _NONE
