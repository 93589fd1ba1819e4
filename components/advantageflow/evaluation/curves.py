"""Curves of a run by round: accuracy on held-out prompts, and what training saw; as data, and drawn as one PNG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.evaluation.fonts import font_families
from advantageflow.evaluation.labels import is_accuracy, soft_label, strict_label
from advantageflow.store.files import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = Mapping[str, Mapping[int, float]]
"""Values by round, by name of the metric."""

_TRAINING = (
    ("training/deviation", "Deviation from the rollout policy", "mean of |v_θ - v_roll|²"),
    ("training/gradient_norm", "Gradient norm before clipping", "mean over the round's steps"),
)
COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#6e7781", "#bf3989", "#9a6700")
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8c959f",
    "axes.grid": True,
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: in the legend.
        values: by round.
        bands: bounds of the 95 % intervals by round, where they are known.
    """

    name: str
    values: Mapping[int, float]
    bands: Mapping[int, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Curves on common axes.

    Attributes:
        title, unit: of the panel, and of its values.
        lines: its curves.
        low, high: what the axis of values reaches at least; None leaves that to the values.
        marks: values that are marked with a level line, by what they are.
    """

    title: str
    unit: str
    lines: Sequence[Line]
    low: float | None = None
    high: float | None = None
    marks: Mapping[str, float] = field(default_factory=dict)


def run_panels(rounds: Sequence[Mapping[str, Any]], training: Curves | None = None) -> list[Panel]:
    """The panels of a run.

    Strict accuracy on held-out prompts with its 95 % interval; the same by task; each term of a reward that has
    several, with the mean of the rollouts; each watched reward, and the statistics of the images; and, where
    `training` has them, mean reward of the rollouts, deviation from the rollout policy, gradient norm.

    Args:
        rounds: evaluations in order of rounds: 'round' (0 is the base), 'strict', 'strict_ci95', 'soft', 'tasks'; may
            have 'strict_column' and 'soft_column', the columns behind strict and soft, and 'terms'.
        training: metrics by round: 'reward/<column>_mean', 'training/deviation', 'training/gradient_norm'.
    """
    training = training or {}
    return [
        *_held_out(rounds),
        *_terms(rounds, training),
        *_watched(rounds),
        *_training(rounds, training),
    ]


def draw_curves(panels: Sequence[Panel], out: Path) -> None:
    """Draw panels as one PNG, two in a row.

    Raises:
        StoreError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(panels) / 2)
    families = font_families("".join(panel.title + "".join(line.name for line in panel.lines) for panel in panels))
    with matplotlib.rc_context({**_STYLE, "font.family": families}):
        figure = Figure(figsize=(12, 3.8 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        for panel, axes in zip(panels, figure.subplots(rows, 2, squeeze=False).flat, strict=False):
            _draw(axes, panel)
        for axes in figure.axes[len(panels) :]:
            axes.set_visible(False)
        with writing(out):
            figure.savefig(out, dpi=110)


def _draw(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, line in enumerate(panel.lines):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(list(line.values), list(line.values.values()), "o-", color=colour, label=line.name)
        if line.bands:
            low, high = zip(*line.bands.values(), strict=True)
            axes.fill_between(list(line.bands), low, high, color=colour, alpha=0.15, lw=0)
    for name, value in panel.marks.items():
        axes.axhline(value, color="#8c959f", lw=1, ls=":", label=name)
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, bottom if panel.low is None else panel.low), max(top, panel.high or top))
    axes.set_title(panel.title)
    axes.set_xlabel("round")
    axes.set_ylabel(panel.unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best", fontsize=9)


def _held_out(rounds: Sequence[Mapping[str, Any]]) -> Iterator[Panel]:
    label, soft = strict_label(rounds[-1]), soft_label(rounds[-1])
    bands = {entry["round"]: entry["strict_ci95"] for entry in rounds if "strict_ci95" in entry}
    lines = [Line(label, {entry["round"]: entry["strict"] for entry in rounds}, bands)]
    if soft is not None:
        lines.append(Line(soft, {entry["round"]: entry["soft"] for entry in rounds}))
    yield Panel("Held-out prompts", "mean over tasks", lines)
    tasks = sorted({task for entry in rounds for task in entry["tasks"]})
    if len(tasks) > 1:
        by_task = [Line(task.replace("_", " "), _known(rounds, "tasks", task)) for task in tasks]
        bounds: dict[str, Any] = {"low": 0.0, "high": 1.0} if is_accuracy(rounds[-1]) else {}
        yield Panel("Held-out prompts by task", label, by_task, **bounds)


def _terms(rounds: Sequence[Mapping[str, Any]], training: Curves) -> Iterator[Panel]:
    """A panel for each of several terms: their units differ."""
    terms = rounds[-1].get("terms", {})
    others = _other_rewards(rounds)
    for name, term in terms.items() if len(terms) > 1 else ():
        column = name if term["reward"] in others else term["column"]  # as the scores, and so training, call it
        yield _judged(rounds, "terms", name, training.get(f"reward/{column}_mean"))


def _watched(rounds: Sequence[Mapping[str, Any]]) -> Iterator[Panel]:
    """What is only watched: rewards, and image statistics as multiples of the base's."""
    for name in rounds[-1].get("watched", {}):
        yield _judged(rounds, "watched", name)
    names = rounds[-1].get("statistics", {})
    ratios = {name: _ratios(_known(rounds, "statistics", name)) for name in names}
    lines = [Line(name.replace("_", " "), {0: 1.0, **found}) for name, found in ratios.items() if found]
    if lines:  # at least half to half as much again, so that a drift of a few per cent looks like one
        yield Panel("Statistics of the images", "multiple of the base's", lines, low=0.5, high=1.5)


def _training(rounds: Sequence[Mapping[str, Any]], training: Curves) -> Iterator[Panel]:
    """A panel for each part of the training that is known; of several rewards, the first one's columns."""
    others = tuple(f"reward/{name}." for name in _other_rewards(rounds))
    rewards = [
        Line(name.removeprefix("reward/").removesuffix("_mean"), _in_order(curve))
        for name, curve in sorted(training.items())
        if name.startswith("reward/") and name.endswith("_mean") and not name.startswith(others)
    ]
    if rewards:
        yield Panel("Rollouts on training prompts", "mean reward", rewards)
    for name, title, unit in _TRAINING:
        if name in training:
            yield Panel(title, unit, [Line("training", _in_order(training[name]))], low=0.0)


def _judged(rounds: Sequence[Mapping[str, Any]], kind: str, name: str, rollouts: Any = None) -> Panel:
    """A term or a watched reward on held-out prompts, with its interval, and the mean of the rollouts if it has one."""
    known = _known(rounds, kind, name)
    means = {number: one["mean"] for number, one in known.items()}
    lines = [Line("held-out prompts", means, {number: one["ci95"] for number, one in known.items()})]
    lines += [Line("rollouts", _in_order(rollouts))] if rollouts else []
    last = known[max(known)]
    unit = "mean over tasks" if last["higher_is_better"] else "mean over tasks (lower is better)"
    marks = {"minimum": last["minimum"]} if "minimum" in last else {}
    return Panel(name if kind == "terms" else f"Watched: {name}", unit, lines, marks=marks)


def _ratios(known: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    return {number: one["mean"] / one["base"] for number, one in known.items() if one.get("base")}


def _known(rounds: Sequence[Mapping[str, Any]], kind: str, name: str) -> dict[int, Any]:
    """What the evaluations that have it say of `kind` under a name, by round."""
    return {entry["round"]: entry[kind][name] for entry in rounds if name in entry.get(kind, {})}


def _other_rewards(rounds: Sequence[Mapping[str, Any]]) -> set[str]:
    """Names of the rewards that are not the first term's."""
    names = [term["reward"] for term in rounds[-1].get("terms", {}).values()]
    return {name for name in names if name != names[0]}


def _in_order(curve: Mapping[int, float]) -> dict[int, float]:
    return dict(sorted(curve.items()))
