"""Runs side by side: the settings in which they differ, what each came to, and their paired differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from advantageflow.errors import DataError, SettingsError
from advantageflow.evaluation.labels import strict_label
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import difference
from advantageflow_pipelines.local.workdir import open_workdir, read_report
from advantageflow_pipelines.say import Console, print_table, say

_BARS = "▁▂▃▄▅▆▇█"


def show_comparison(console: Console, folders: Sequence[Path]) -> None:
    """Print the runs of these working folders side by side, the first as the reference.
    Raises SettingsError: fewer than two are given, one holds no run, or one has no evaluation yet.
    """
    if len(folders) < 2:
        remedy = "give --compare for each of at least two working folders"
        raise SettingsError("one run cannot be compared", where="--compare", remedy=remedy)
    runs = [open_workdir(folder) for folder in folders]
    names = [run.root.name for run in runs]
    reports = [run.reports() for run in runs]
    for name, found in zip(names, reports, strict=True):
        if not found:
            raise SettingsError("has no evaluation yet", where=name, remedy="wait for its first one")
    metrics = [{number: read_report(folder) for number, folder in found.items()} for found in reports]
    finals = [one[max(one)] for one in metrics]
    table = Table(
        "",
        *(Column(name, overflow="fold") for name in names),
        title=f"{strict_label(finals[0])} on held-out prompts",
        title_justify="left",
    )
    table.add_row("start", *(f"{one[min(one)]['strict']:.3f}" for one in metrics))
    table.add_row("final", *(f"{one['strict']:.3f}" for one in finals), style="bold")
    table.add_row("95% interval", *("{:.3f} to {:.3f}".format(*one["strict_ci95"]) for one in finals))
    table.add_row("by round", *(_curve([one["strict"] for one in of_run.values()]) for of_run in metrics))
    table.add_row("against the first", "", *(_against(reports[0], other) for other in reports[1:]))
    table.add_section()
    for task in finals[0]["tasks"]:
        values = [f"{one['tasks'][task]:.3f}" if task in one["tasks"] else "" for one in finals]
        table.add_row(task, *values)
    table.add_section()
    flat = [_flat(run.settings.model_dump(mode="json", exclude={"tracking"})) for run in runs]
    for name in dict.fromkeys(name for one in flat for name in one):
        given = [one.get(name) for one in flat]
        if any(value != given[0] for value in given):
            table.add_row(name, *("" if value is None else str(value) for value in given))
    print_table(console, table)
    say(console, "against the first: paired by prompt and noise, with its 95 % interval; below, settings that differ")


def _against(first: Mapping[int, Path], other: Mapping[int, Path]) -> str:
    """The change of the last evaluation, where both judged the same images."""
    try:
        change = difference(read_outcomes(first[max(first)]), read_outcomes(other[max(other)]), "strict").overall
    except DataError:
        return "other images"
    return f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})"


def _curve(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return "".join(_BARS[round((value - low) / ((high - low) or 1) * (len(_BARS) - 1))] for value in values)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
