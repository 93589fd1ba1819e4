"""Accuracy over images generated, or over seconds: each variant's mean, its interval, and every seed's own line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow_experiments.compare.records import CellResult, Comparison, CurvePoint, Point, VariantResult
from advantageflow_experiments.compare.style import (
    GREY,
    PALE,
    colour,
    dashes,
    label_line_ends,
    picture,
    set_title,
    within,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELLED = 7  # so many names fit beside their lines


def draw_by_images(comparison: Comparison, path: Path) -> None:
    """Draw strict accuracy against the number of images generated."""
    with picture(path, 8, 4.8) as figure:
        axes = figure.subplots()
        _lines(figure, axes, comparison, lambda v: v.by_images, lambda point: float(point.generated))
        for number, variant in enumerate(comparison.variants):
            _keep_last(axes, variant, number)
        axes.set_xlabel("images generated")
        if len(comparison.variants) > _LABELLED:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=10)
        else:
            label_line_ends(axes, [_end(variant, number) for number, variant in enumerate(comparison.variants)])


def draw_by_seconds(comparison: Comparison, path: Path) -> None:
    """Draw strict accuracy against seconds of rollout, reward and training: the mean ones of its runs."""
    with picture(path, 8, 4.8) as figure:
        axes = figure.subplots()
        _lines(figure, axes, comparison, lambda v: v.by_seconds, lambda point: point.training_seconds)
        axes.set_xlabel("seconds of rollouts, rewards and training")
        # Lines end at different seconds, so names beside them would cover other lines.
        figure.legend(loc="outside lower center", ncols=min(4, len(comparison.variants)), fontsize=11)


def _lines(
    figure: Figure,
    axes: Axes,
    comparison: Comparison,
    curve_of: Callable[[VariantResult], Sequence[CurvePoint]],
    place: Callable[[Point], float],
) -> None:
    alone = len(comparison.seeds) == 1
    for number, variant in enumerate(comparison.variants):
        cells = comparison.cells_of(variant.name)
        for cell in () if alone else cells:
            x, y = [place(point) for point in cell.points], [point.strict for point in cell.points]
            axes.plot(x, y, color=colour(number), linestyle=dashes(number), lw=0.8, alpha=0.55, zorder=2)
        _mark_divergence(axes, [cell for cell in cells if cell.status == "diverged"], place, number)
        _mean_line(axes, curve_of(variant), number, variant.label, comparison.limits)
    _targets(axes, comparison.variants)
    axes.set_xlim(left=0)
    axes.margins(y=0.06)
    axes.set_ylabel(f"{comparison.measure}, held-out prompts")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    how = f"mean of {len(comparison.seeds)} seeds, its 95 % interval, and every seed as a thin line"
    set_title(figure, axes, comparison.title, "one seed" if alone else how)


def _mean_line(
    axes: Axes, curve: Sequence[CurvePoint], number: int, label: str, limits: tuple[float, float] | None
) -> None:
    x, y = [point.x for point in curve], [point.accuracy.mean for point in curve]
    axes.plot(x, y, color=colour(number), linestyle=dashes(number), label=label, zorder=3)
    bounds = [(point.x, *within(point.accuracy.ci95, limits)) for point in curve if point.accuracy.ci95]
    if bounds:
        places, low, high = zip(*bounds, strict=True)
        axes.fill_between(places, low, high, color=colour(number), alpha=0.14, lw=0, zorder=1)


def _mark_divergence(axes: Axes, cells: Sequence[CellResult], place: Callable[[Point], float], number: int) -> None:
    """A cross at the last evaluation of each run that diverged, and once for all of them the rounds."""
    if not cells:
        return
    x, y = [place(cell.last) for cell in cells], [cell.last.strict for cell in cells]
    axes.plot(x, y, "x", color=colour(number), ms=11, mew=2.5, zorder=4, clip_on=False)
    rounds = sorted({cell.diverged_round or 0 for cell in cells})
    note = f"diverged in round {', '.join(map(str, rounds))}"
    lowest = min(range(len(cells)), key=y.__getitem__)
    axes.annotate(note, (x[lowest], y[lowest]), (8, -14), textcoords="offset points", color=colour(number), fontsize=10)


def _keep_last(axes: Axes, variant: VariantResult, number: int) -> None:
    """A dotted line on from where all runs of a variant had diverged: what it counts with."""
    last = variant.by_images[-1]
    if last.x < variant.images:
        axes.plot([last.x, variant.images], 2 * [last.accuracy.mean], ":", color=colour(number), lw=1.4)


def _targets(axes: Axes, variants: Sequence[VariantResult]) -> None:
    for accuracy in {variant.target.accuracy for variant in variants if variant.target}:
        axes.axhline(accuracy, color=GREY, lw=1, ls=(0, (2, 2)), zorder=0)
        axes.annotate(
            f"target {accuracy:g}", (0, accuracy), (4, 3), textcoords="offset points", color=PALE, fontsize=10
        )


def _end(variant: VariantResult, number: int) -> tuple[float, float, str, str]:
    """Where a variant's line ends, and what to write there."""
    last = variant.by_images[-1]
    return float(variant.images), last.accuracy.mean, f"{variant.label} {last.accuracy.mean:.3f}", colour(number)
