"""Curves of a run by round: accuracy on held-out prompts, and what training saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advantageflow.evaluation.labels import is_accuracy, soft_label, strict_label
from advantageflow.store.files import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = Mapping[str, Mapping[int, float]]
"""Values by round, by name of the metric."""

_Panel = Callable[["Axes"], None]

_TRAINING = (
    ("training/deviation", "Deviation from the rollout policy", r"mean of $|v_\theta - v_\mathrm{roll}|^2$"),
    ("training/gradient_norm", "Gradient norm before clipping", "mean over the round's steps"),
)
_BLUE, _ORANGE, _GRID = "#0969da", "#bc4c00", "#d8dee4"
_TASK_COLOURS = ("#0969da", "#1a7f37", "#bc4c00", "#8250df", "#cf222e", "#4d5156", "#bf3989", "#9a6700")
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8c959f",
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "lines.markersize": 4,
    "legend.frameon": False,
}


def draw_curves(rounds: Sequence[Mapping[str, Any]], out: Path, training: Curves | None = None) -> None:
    """Draw a run's curves as one PNG.

    Panels: strict accuracy on held-out prompts with its 95 % interval; the same by task; each term of a reward that has
    several, with the mean of the rollouts; each watched reward, and the statistics of the images; and, where
    `training` has them, mean reward of the rollouts, deviation from the rollout policy, gradient norm.

    Args:
        rounds: evaluations in order of rounds: 'round' (0 is the base), 'strict', 'strict_ci95', 'soft', 'tasks'; may
            have 'strict_column' and 'soft_column', the columns behind strict and soft, and 'terms'.
        out: PNG file to write.
        training: metrics by round: 'reward/<column>_mean', 'training/deviation', 'training/gradient_norm'.

    Raises:
        StoreError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    held_out: list[_Panel] = [lambda axes: _accuracy(axes, rounds), lambda axes: draw_tasks(axes, rounds)]
    training = training or {}
    rows = [held_out, _term_panels(rounds, training), _watched_panels(rounds), _training_panels(rounds, training)]
    rows = [row for row in rows if row]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(12, 3.8 * len(rows)), layout="constrained")
        FigureCanvasAgg(figure)
        for strip, panels in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
            for axes, panel in zip(strip.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
                panel(axes)
                axes.set_xlabel("round")
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        with writing(out):
            figure.savefig(out, dpi=110)


def _term_panels(rounds: Sequence[Mapping[str, Any]], training: Curves) -> list[_Panel]:
    """A panel for each of several terms: their units differ."""
    terms = rounds[-1].get("terms", {})
    others = _other_rewards(rounds)
    panels: list[_Panel] = []
    for name, term in terms.items() if len(terms) > 1 else ():
        column = name if term["reward"] in others else term["column"]  # as the scores, and so training, call it
        rollouts = training.get(f"reward/{column}_mean", {})
        panels.append(partial(_term, known=_known(rounds, "terms", name), name=name, rollouts=rollouts))
    return panels


def _watched_panels(rounds: Sequence[Mapping[str, Any]]) -> list[_Panel]:
    """What is only watched: rewards, and image statistics as multiples of the base's."""
    panels: list[_Panel] = [
        partial(_term, known=_known(rounds, "watched", name), name=f"Watched: {name}", rollouts={})
        for name in rounds[-1].get("watched", {})
    ]
    compared = [entry for entry in rounds if any("base" in one for one in entry.get("statistics", {}).values())]
    if compared:
        panels.append(partial(_statistics, rounds=compared))
    return panels


def _known(rounds: Sequence[Mapping[str, Any]], kind: str, name: str) -> list[tuple[int, Any]]:
    """Round and value of what the evaluations that have it say of `kind` under a name."""
    return [(entry["round"], entry[kind][name]) for entry in rounds if name in entry.get(kind, {})]


def _other_rewards(rounds: Sequence[Mapping[str, Any]]) -> set[str]:
    """Names of the rewards that are not the first term's."""
    names = [term["reward"] for term in rounds[-1].get("terms", {}).values()]
    return {name for name in names if name != names[0]}


def _training_panels(rounds: Sequence[Mapping[str, Any]], training: Curves) -> list[_Panel]:
    """A panel for each part of the training that is known; of several rewards, the first one's columns."""
    panels: list[_Panel] = []
    others = tuple(f"reward/{name}." for name in _other_rewards(rounds))
    rewards = {
        name.removeprefix("reward/").removesuffix("_mean"): curve
        for name, curve in sorted(training.items())
        if name.startswith("reward/") and name.endswith("_mean") and not name.startswith(others)
    }
    if rewards:
        panels.append(lambda axes: _rewards(axes, rewards))
    for name, title, label in _TRAINING:
        if name in training:
            panels.append(partial(_from_zero, curve=training[name], title=title, label=label))
    return panels


def _accuracy(axes: Axes, rounds: Sequence[Mapping[str, Any]]) -> None:
    x = [entry["round"] for entry in rounds]
    strict = [(entry["round"], {"mean": entry["strict"], "ci95": entry["strict_ci95"]}) for entry in rounds]
    _with_interval(axes, strict, strict_label(rounds[-1]))
    soft = soft_label(rounds[-1])
    if soft is not None:
        axes.plot(x, [entry["soft"] for entry in rounds], "o--", color=_ORANGE, lw=1.4, label=soft)
    for entry, below in ((rounds[0], -16), (rounds[-1], 8)):
        place = (entry["round"], entry["strict"])
        axes.annotate(f"{entry['strict']:.3f}", place, (0, below), textcoords="offset points", ha="center")
    axes.set_title("Held-out prompts")
    axes.set_ylabel("mean over tasks")
    axes.margins(x=0.06, y=0.15)
    axes.legend(loc="best", fontsize=9)


def draw_tasks(axes: Axes, rounds: Sequence[Mapping[str, Any]]) -> None:
    """Draw a curve for each task; `rounds` as in draw_curves."""
    names = sorted({task for entry in rounds for task in entry["tasks"]})
    for number, task in enumerate(names):
        colour = _TASK_COLOURS[number % len(_TASK_COLOURS)]
        axes.plot(
            *zip(*_known(rounds, "tasks", task), strict=True), "o-", color=colour, lw=1.6, label=task.replace("_", " ")
        )
    axes.set_title("Held-out prompts by task")
    axes.set_ylabel(strict_label(rounds[-1]))
    if is_accuracy(rounds[-1]):
        axes.set_ylim(0, 1.02)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)


def _term(
    axes: Axes, *, known: Sequence[tuple[int, Mapping[str, Any]]], name: str, rollouts: Mapping[int, float]
) -> None:
    _with_interval(axes, known, "held-out prompts")
    if rollouts:
        axes.plot(*_points(rollouts), "o--", color=_ORANGE, lw=1.4, label="rollouts")
    if "minimum" in known[-1][1]:
        axes.axhline(known[-1][1]["minimum"], color=_ORANGE, lw=1, ls=":", label="minimum")
    axes.set_title(name)
    axes.set_ylabel("mean over tasks" if known[-1][1]["higher_is_better"] else "mean over tasks (lower is better)")
    axes.margins(x=0.06, y=0.15)
    axes.legend(loc="best", fontsize=9)


def _with_interval(axes: Axes, known: Sequence[tuple[int, Mapping[str, Any]]], label: str) -> None:
    """A curve of 'mean' with the band of 'ci95'."""
    x = [number for number, _ in known]
    low, high = ([one["ci95"][side] for _, one in known] for side in (0, 1))
    axes.plot(x, [one["mean"] for _, one in known], "o-", color=_BLUE, label=label)
    axes.fill_between(x, low, high, color=_BLUE, alpha=0.15, lw=0, label="95% interval")


def _statistics(axes: Axes, *, rounds: Sequence[Mapping[str, Any]]) -> None:
    """Each statistic of the held-out images, divided by the base's."""
    names = list(rounds[-1]["statistics"])
    for name, colour in zip(names, _TASK_COLOURS, strict=False):
        known = _known(rounds, "statistics", name)
        ratios = [(number, one["mean"] / one["base"]) for number, one in known if one["base"]]
        if ratios:
            axes.plot(*zip((0, 1.0), *ratios, strict=True), "o-", color=colour, lw=1.6, label=name.replace("_", " "))
    axes.axhline(1.0, color="#8c959f", lw=1)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.5), max(high, 1.5))  # so that a drift of a few per cent looks like one
    axes.set_title("Statistics of the images")
    axes.set_ylabel("multiple of the base's")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)


def _rewards(axes: Axes, rewards: Curves) -> None:
    for (name, curve), colour in zip(rewards.items(), _TASK_COLOURS, strict=False):
        axes.plot(*_points(curve), "o-", color=colour, label=name)
    axes.set_title("Rollouts on training prompts")
    axes.set_ylabel("mean reward")
    axes.legend(loc="best", fontsize=9)


def _from_zero(axes: Axes, *, curve: Mapping[int, float], title: str, label: str) -> None:
    rounds, values = _points(curve)
    axes.plot(rounds, values, "o-", color=_BLUE)
    axes.set_title(title)
    axes.set_ylabel(label)
    highest = max(filter(math.isfinite, values), default=0.0)
    axes.set_ylim(0, 1.1 * highest or 1.0)


def _points(curve: Mapping[int, float]) -> tuple[list[int], list[float]]:
    rounds = sorted(curve)
    return rounds, [curve[number] for number in rounds]
