"""A bar chart of the benchmark: training samples a second, saving after saving."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advantageflow.store.files import writing

_GREY, _BLUE = "#8c959f", "#0969da"
_STYLE: dict[Any, Any] = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


def draw_chart(report: Mapping[str, Any], out: Path) -> None:
    """Draw the rows as horizontal bars, first row on top, with the range over the repeats.

    Raises:
        StoreError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = report["rows"]
    rates = [row["samples_per_second"] for row in rows]
    middle = [rate["median"] for rate in rates]
    below = [rate["median"] - rate["lowest"] for rate in rates]
    above = [rate["highest"] - rate["median"] for rate in rates]
    names = [row["name"] if number == 0 else f"+ {row['name']}" for number, row in enumerate(rows)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 0.55 * len(rows) + 1.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        colours = [_GREY, *[_BLUE] * (len(rows) - 1)]
        axes.barh(names, middle, xerr=[below, above], color=colours, ecolor="#24292f", capsize=3, height=0.65)
        for number, row in enumerate(rows):
            end = middle[number] + above[number]
            times = f"{row['speedup']['median']:.2f} x"
            axes.annotate(times, (end, number), (6, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("training samples a second (median and range)")
        axes.set_title(f"{report['shape']['model']}, {report['device']}, {report['threads']} threads", loc="left")
        with writing(out):
            figure.savefig(out, dpi=110)
