"""Accuracy over images generated, or over seconds: each variant's mean, its interval, and every seed's own line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow_experiments.compare.comparison import Comparison, CurvePoint
from advantageflow_experiments.compare.style import GREY, PALE, picture, set_legend, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_by_images(comparison: Comparison, path: Path) -> None:
    """Draw strict accuracy against the number of images generated."""
    _draw(comparison, path, "by_images", "images generated")


def draw_by_seconds(comparison: Comparison, path: Path) -> None:
    """Draw strict accuracy against seconds of rollout, reward and training: the mean ones of its runs."""
    _draw(comparison, path, "by_seconds", "seconds of rollouts, rewards and training")


def _draw(comparison: Comparison, path: Path, curve: str, label: str) -> None:
    """Draw the curve of this name that variants and their runs have."""
    several = len(comparison.plan.seeds) > 1
    with picture(path, 8, 5.4) as figure:
        axes = figure.subplots()
        for variant in comparison.variants:
            style = _mean_line(axes, getattr(variant, curve), variant.label)
            for cell in comparison.cells_of(variant.name):
                x, y = zip(*getattr(cell, curve), strict=True)
                if several:
                    axes.plot(x, y, lw=0.8, alpha=0.55, zorder=2, **style)
                if cell.diverged_round is not None:
                    axes.plot(x[-1:], y[-1:], "x", color=style["color"], ms=11, mew=2.5, zorder=4, clip_on=False)
        if any(variant.diverged for variant in comparison.variants):
            axes.plot([], [], "x", color=PALE, ms=11, mew=2.5, label="diverged after this")
        target = comparison.plan.target
        if target is not None:
            axes.axhline(target, color=GREY, lw=1, ls=(0, (2, 2)), zorder=0, label=f"target {target:g}")
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
        axes.set_ylabel(f"{comparison.measure}, held-out prompts")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        how = ", its 95 % interval, and every seed as a thin line" if several else ""
        set_title(figure, axes, comparison.plan.title, f"{comparison.spread}{how}")
        set_legend(figure, columns=2)


def _mean_line(axes: Axes, curve: Sequence[CurvePoint], label: str) -> dict[str, Any]:
    """Draw a mean with its interval, in the next style; returns that."""
    x, y = [point.x for point in curve], [point.accuracy.mean for point in curve]
    (line,) = axes.plot(x, y, label=f"{label}: {y[-1]:.3f}", zorder=3)
    bounds = [point.accuracy.ci95 for point in curve if point.accuracy.ci95]
    if bounds:
        low, high = zip(*bounds, strict=True)
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.14, lw=0, zorder=1)
    return {"color": line.get_color(), "linestyle": line.get_linestyle()}
