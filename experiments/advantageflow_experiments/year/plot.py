"""The picture of a simulated year: the champion's accuracy, and what became of each week's candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advantageflow_experiments.compare.style import PALE, picture

_MARKS = {"promoted": "^", "kept": "v", "failed": "x", "nothing": "o"}


def plot_year(told: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write it as PNG.

    Raises:
        StoreError: it cannot be written.
    """
    with picture(path, 8, 4) as figure:
        axes = figure.subplots()
        axes.step([one["week"] for one in told], [one["accuracy"] for one in told], where="post", label="champion")
        for outcome, mark in _MARKS.items():
            of_these = [one for one in told if one["outcome"].startswith(outcome)]
            if of_these:
                axes.scatter(
                    [one["week"] for one in of_these], [one["accuracy"] for one in of_these],
                    marker=mark, color=PALE, s=30, zorder=3, label=f"{outcome} ({len(of_these)})",
                )  # fmt: skip
        axes.set_xlabel("week")
        axes.set_ylabel("strict accuracy, fixed prompts and noise")
        axes.set_title("A year of weekly retrainings, simulated")
        axes.legend()
