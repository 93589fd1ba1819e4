"""Curves of a run by round: accuracy on held-out prompts, and what training saw."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from advantageflow.evaluation.labels import is_accuracy, soft_label, strict_label

Curves = Mapping[str, Mapping[int, float]]
"""Values by round, by name of the metric."""

_TRAINING = (
    ("training/deviation", "Deviation from the rollout policy", "mean of |v_θ - v_roll|²"),
    ("training/gradient_norm", "Gradient norm before clipping", "mean over the round's steps"),
)


@dataclass(frozen=True)
class Line:
    """A curve."""

    name: str  # in the legend
    values: Mapping[int, float]  # by round
    # bounds of the 95 % intervals by round, where they are known
    bands: Mapping[int, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Curves on common axes."""

    title: str
    unit: str  # of its values
    lines: Sequence[Line]
    low: float | None = None  # what the axis of values reaches at least; None leaves that to the values
    high: float | None = None
    marks: Mapping[str, float] = field(default_factory=dict)  # values to mark with a level line, by what they are


def run_panels(rounds: Sequence[Mapping[str, Any]], training: Curves | None = None) -> list[Panel]:
    """The panels of a run.

    Strict accuracy on held-out prompts with its 95 % interval; the same by task; each term of a reward that has
    several, with the mean of the rollouts; each watched reward, and the statistics of the images; and, where `training`
    (metrics by round) has them, mean reward of the rollouts, deviation from the rollout policy, gradient norm. `rounds`
    are the metrics of evaluations in order of rounds, of which 0 is the base.
    """
    training = training or {}
    return [*_held_out(rounds), *_terms(rounds, training), *_watched(rounds), *_training(rounds, training)]


def _held_out(rounds: Sequence[Mapping[str, Any]]) -> Iterator[Panel]:
    label, soft = strict_label(rounds[-1]), soft_label(rounds[-1])
    bands = {entry["round"]: entry["strict_ci95"] for entry in rounds if "strict_ci95" in entry}
    lines = [Line(label, {entry["round"]: entry["strict"] for entry in rounds}, bands)]
    if soft is not None:
        lines.append(Line(soft, {entry["round"]: entry["soft"] for entry in rounds}))
    yield Panel("Held-out prompts", "mean over tasks", lines)
    tasks = sorted({task for entry in rounds for task in entry["tasks"]})
    if len(tasks) > 1:
        by_task = [Line(task, _known(rounds, "tasks", task)) for task in tasks]
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
    lines = []
    for name in rounds[-1].get("statistics", {}):
        known = _known(rounds, "statistics", name)
        ratios = {number: one["mean"] / one["base"] for number, one in known.items() if one.get("base")}
        lines += [Line(name.replace("_", " "), {0: 1.0, **ratios})] if ratios else []
    if lines:  # at least half to half as much again, so that a drift of a few per cent looks like one
        yield Panel("Statistics of the images", "multiple of the base's", lines, low=0.5, high=1.5)


def _training(rounds: Sequence[Mapping[str, Any]], training: Curves) -> Iterator[Panel]:
    """A panel for each part of the training that is known; of several rewards, the first one's columns."""
    others = tuple(f"reward/{name}." for name in _other_rewards(rounds))
    rewards = [
        Line(name.removeprefix("reward/").removesuffix("_mean"), dict(sorted(curve.items())))
        for name, curve in sorted(training.items())
        if name.startswith("reward/") and name.endswith("_mean") and not name.startswith(others)
    ]
    if rewards:
        yield Panel("Rollouts on training prompts", "mean reward", rewards)
    for name, title, unit in _TRAINING:
        if name in training:
            yield Panel(title, unit, [Line("training", dict(sorted(training[name].items())))], low=0.0)


def _judged(rounds: Sequence[Mapping[str, Any]], kind: str, name: str, rollouts: Any = None) -> Panel:
    """A term or a watched reward on held-out prompts, with its interval, and the mean of the rollouts if it has one."""
    known = _known(rounds, kind, name)
    means = {number: one["mean"] for number, one in known.items()}
    lines = [Line("held-out prompts", means, {number: one["ci95"] for number, one in known.items()})]
    lines += [Line("rollouts", dict(sorted(rollouts.items())))] if rollouts else []
    last = known[max(known)]
    unit = "mean over tasks" if last["higher_is_better"] else "mean over tasks (lower is better)"
    marks = {"minimum": last["minimum"]} if "minimum" in last else {}
    return Panel(name if kind == "terms" else f"Watched: {name}", unit, lines, marks=marks)


def _known(rounds: Sequence[Mapping[str, Any]], kind: str, name: str) -> dict[int, Any]:
    """What the evaluations that have it say of `kind` under a name, by round."""
    return {entry["round"]: entry[kind][name] for entry in rounds if name in entry.get(kind, {})}


def _other_rewards(rounds: Sequence[Mapping[str, Any]]) -> set[str]:
    """Names of the rewards that are not the first term's."""
    names = [term["reward"] for term in rounds[-1].get("terms", {}).values()]
    return {name for name in names if name != names[0]}
