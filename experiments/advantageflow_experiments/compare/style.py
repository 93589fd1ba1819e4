"""How a comparison's pictures look: colours that the colour-blind tell apart, type that is read at a page's width."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.store.files import writing

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), the most distant ones first; then told apart by dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
GREY, INK, PALE = "#8c959f", "#1f2328", "#656d76"
_DPI = 150
_LETTERS_PER_INCH = 8.6  # of a bold title
_PLACES_AROUND = tuple(
    ((side * x, y), "left" if side > 0 else "right")
    for x, y in ((10, 11), (10, -11), (14, 0), (6, 20), (6, -20), (6, 30), (6, -30))
    for side in (1, -1)
)  # of a name, in points from its point; the first that is free is taken
_STYLE: dict[Any, Any] = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
}


def colour(number: int) -> str:
    """The colour of the n-th variant; after the last one they begin again, with other dashes."""
    return COLOURS[number % len(COLOURS)]


def dashes(number: int) -> str:
    """The line style of the n-th variant."""
    return DASHES[number // len(COLOURS) % len(DASHES)]


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure to draw on, saved as PNG when the block is left without an error.

    Args:
        path: file to write.
        width: in inches; 8 is the width of a page.
        height: in inches.

    Raises:
        StoreError: it cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with writing(path):
            figure.savefig(path, dpi=_DPI)


def set_title(figure: Figure, axes: Axes, title: str, subtitle: str = "") -> None:
    """A bold title over the whole picture, in several lines if it is long, and a plain one over the axes."""
    letters = round(_LETTERS_PER_INCH * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.wrap(title, letters)), x=0.01, ha="left", fontsize=13, fontweight="bold")
    axes.set_title(subtitle, fontsize=11, fontweight="normal", color=PALE)


def label_points(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each point's name beside it, where it covers neither a point nor another name, if there is such a place.

    Args:
        axes: their limits must be final.
        points: x, y, text and colour of each.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()  # settles the layout, so that texts have places
    taken = [_around(axes.transData.transform((x, y))) for x, y, _, _ in points]
    for x, y, text, ink in points:
        note = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", color=ink, fontsize=11)
        for offset, side in _PLACES_AROUND:
            note.set(position=offset, ha=side, va="center")
            box = note.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(note.get_window_extent())


def _around(place: np.ndarray) -> Bbox:
    """The square that a point's mark covers, in pixels."""
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(place[0] - 8, place[1] - 8, place[0] + 8, place[1] + 8)


def label_line_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name beside its end, moved apart where they would cover each other.

    Args:
        axes: drawn to the right of; their limits must be final.
        ends: x, y, text and colour of each line.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    low, high = axes.get_ylim()
    points = figure.get_figheight() * 72 * 0.78  # height of the axes, about
    gap = 15 / points * (high - low)  # of two lines of text
    places = spread([y for _, y, _, _ in ends], gap)
    for (x, y, text, ink), place in zip(ends, places, strict=True):
        axes.annotate(
            text, xy=(x, y), xytext=(12, (place - y) / (high - low) * points), textcoords="offset points",
            color=ink, va="center", fontsize=11, fontweight="bold", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": ink, "lw": 0.8, "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip


def within(interval: tuple[float, float], limits: tuple[float, float] | None) -> tuple[float, float]:
    """The part of an interval that is possible: with two or three seeds, Student's t reaches far."""
    return interval if limits is None else (max(interval[0], limits[0]), min(interval[1], limits[1]))


def spread(places: Sequence[float], gap: float) -> list[float]:
    """The places moved as little as needed to lie at least `gap` apart, in the same order.

    Runs of places that are too near are pushed apart around their common mean, and joined with the runs that they then
    touch.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[list[int]] = []
    centres: list[float] = []
    for index in order:
        blocks.append([index])
        centres.append(places[index])
        while len(blocks) > 1 and centres[-1] - centres[-2] < gap * (len(blocks[-1]) + len(blocks[-2])) / 2:
            merged = blocks[-2] + blocks[-1]
            blocks[-2:] = [merged]
            centres[-2:] = [sum(places[one] for one in merged) / len(merged)]
    moved = [0.0] * len(places)
    for block, centre in zip(blocks, centres, strict=True):
        for number, index in enumerate(block):
            moved[index] = centre + gap * (number - (len(block) - 1) / 2)
    return moved
