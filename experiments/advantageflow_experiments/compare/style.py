"""How pictures of experiments look: colours that the colour-blind tell apart, type that is read at a page's width."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advantageflow.annotations import Axes, Figure
from advantageflow.store.files import writing

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), the most distant ones first; then told apart by dashes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")
GREY, INK, PALE = "#8c959f", "#1f2328", "#656d76"
_DPI = 150
_LETTERS_PER_INCH = 8.6  # of a bold title
_STYLE: dict[Any, Any] = {
    "font.size": 12,
    "axes.labelsize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "lines.linewidth": 2.2,
}


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure to draw on, saved as PNG when the block is left without an error.
    Raises StoreError: it cannot be written.

    Args:
        width: in inches; 8 is the width of a page.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cycle = cycler(linestyle=_DASHES) * cycler(color=_COLOURS)
    with matplotlib.rc_context(_STYLE | {"axes.prop_cycle": cycle}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with writing(path):
            figure.savefig(path, dpi=_DPI)


def set_title(figure: Figure, axes: Axes, title: str, subtitle: str = "") -> None:
    """A bold title over the whole picture, in several lines if it is long, and a plain one over the axes."""
    letters = round(_LETTERS_PER_INCH * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.wrap(title, letters)), x=0.01, ha="left", fontsize=13, fontweight="bold")
    axes.set_title(subtitle, fontsize=11, color=PALE)


def set_legend(figure: Figure, columns: int) -> None:
    """A legend below the axes, where it covers nothing."""
    figure.legend(loc="outside lower center", ncols=columns)
