"""The tables of a comparison: Markdown for a page, a shorter one for the terminal."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from advantageflow.store.files import writing
from advantageflow_experiments.compare.comparison import Comparison, Read, all_seconds, final, untrained, useful_seconds
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
    Raises StoreError: it cannot be written.
    """
    parts = [f"# {comparison.plan.title}", overall_table(comparison)]
    labels = comparison.labels
    terms = list(dict.fromkeys(term for cell in comparison.cells for term in cell.last.terms))
    if terms:
        reads = [lambda run, term=term: run.last.terms[term].mean if term in run.last.terms else None for term in terms]
        rows = [[label, *(_figure(comparison.over(one, read)) for read in reads)] for one, label in labels.items()]
        parts += ["## Rewards on held-out prompts", _markdown(["variant", *terms], rows)]
    if comparison.untrained:
        parts += ["## What was not trained on", *_untrained(comparison)]
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
    for variant, label in comparison.labels.items():
        ends = [cell.last.tasks for cell in comparison.cells_of(variant)]
        rows.append([label, *(_figure(estimate([tasks[task] for tasks in ends])) for task in base)])
    return _markdown(["variant", *base], rows)


def _untrained(comparison: Comparison) -> list[str]:
    """Each measure at the end, and where all runs had reached an equal reward."""
    measures = comparison.untrained
    starts = [cell.points[0].untrained for cell in comparison.cells_of(comparison.cells[0].variant)]
    base = ["base model", *(_figure(estimate([one[measure] for one in starts])) for measure in measures)]

    def rows(read_of: Callable[[str], Read]) -> list[list[str]]:
        return [[label, *(_beside(comparison, one, read_of(measure)) for measure in measures)]
                for one, label in comparison.labels.items()]  # fmt: skip

    head = ["variant", *(measure.replace("_", " ") for measure in measures)]
    return [
        f"At the end; in brackets the difference to {_reference(comparison)}:",
        _markdown(head, [base, *rows(untrained)]),
        f"At equal reward ({comparison.common_reward:.3f}, the highest that all runs reached):",
        _markdown(head, rows(comparison.at_common_reward)),
    ]


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
    for variant, label in comparison.labels.items():

        def over_and_against(read: Read, form: str = ".3f", variant: str = variant) -> list[str]:
            return [_figure(comparison.over(variant, read), form), _signed(comparison.against(variant, read), form)]

        row = {"variant": [label], comparison.measure: over_and_against(final)}
        if with_courses:
            row["mean over the run"] = over_and_against(comparison.course)
        if soft is not None:
            row[soft] = [_figure(comparison.over(variant, lambda run: run.last.soft))]
        row["images"] = [f"{comparison.images:,}"]
        if target is not None:
            missing = sum(comparison.images_to_target(run) is None for run in comparison.cells_of(variant))
            never = f"{missing} of {len(comparison.plan.seeds)} never" if missing else ""
            for what, read in (("images", comparison.images_to_target), ("seconds", comparison.seconds_to_target)):
                reached = over_and_against(read, ",.0f")
                reached[0] = ", ".join(filter(None, [reached[0].strip(_NONE), never]))
                row[f"{what} to {target:g}"] = reached
        row["useful seconds"] = [_figure(comparison.over(variant, useful_seconds), ".0f").partition(" ")[0]]
        row["all seconds"] = [_figure(comparison.over(variant, all_seconds), ".0f").partition(" ")[0]]
        diverged = comparison.diverged(variant).items()
        row["diverged"] = [", ".join(f"seed {seed} in round {at}" for seed, at in diverged) or _NONE]
        rows.append(row)
    head = [name for column, cells in rows[0].items() for name in (column, against)[: len(cells)]]
    return head, [[cell for cells in row.values() for cell in cells] for row in rows]


def _reference(comparison: Comparison) -> str:
    """What the differences are to: the first variant, in a grid that of the same row."""
    grid = comparison.plan.grid
    first = comparison.labels[comparison.cells[0].variant]
    return first if grid is None else f"{next(iter(grid.columns.options))} of the row"


def _has_courses(comparison: Comparison) -> bool:
    """Whether means over runs say something: runs are drawn as curves."""
    return not (comparison.plan.grid or comparison.plan.pareto)


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
        _DIVERGED if any(cell.diverged_round is not None for cell in comparison.cells) else "",
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


def _figure(value: Estimate | None, form: str = ".3f") -> str:
    return _NONE if value is None else f"{value.mean:{form}}{_reach(value, form)}"


def _beside(comparison: Comparison, variant: str, read: Read) -> str:
    """A figure, and in brackets its difference to the reference's."""
    difference = comparison.against(variant, read)
    return _figure(comparison.over(variant, read)) + ("" if difference is None else f" ({_signed(difference)})")


def _signed(value: Estimate | None, form: str = ".3f") -> str:
    return _NONE if value is None else f"{value.mean:+{form}}{_reach(value, form)}"


def _reach(value: Estimate, form: str) -> str:
    return "" if value.ci95 is None else f" ± {value.ci95[1] - value.mean:{form}}"
