"""What the numbers of an evaluation are called: by the column that is really behind them, not by the one that is usual.

Under 'strict' is the column that the reward names as its headline, such as GenEval's 'correct'. A reward without a
strict or soft column has the column that training maximises in their places. These functions take
the metrics of a report, or a part of summary.json; where these name no columns, they are 'strict' and 'soft'.
"""

from collections.abc import Mapping
from typing import Any

from advantageflow.rewards.base import ACCURACIES, CORRECT, STRICT
from advantageflow.shown import markdown

SOFT = "soft"
_USUAL = {STRICT: "strict accuracy", CORRECT: "accuracy", SOFT: "soft reward"}


def strict_column(metrics: Mapping[str, Any]) -> str:
    """The column behind the key 'strict'."""
    return str(metrics.get("strict_column", STRICT))


def soft_column(metrics: Mapping[str, Any]) -> str:
    """The column behind the key 'soft'."""
    return str(metrics.get("soft_column", SOFT))


def is_accuracy(metrics: Mapping[str, Any]) -> bool:
    """Whether the value under 'strict' is a share of images; other columns have ranges of their own."""
    return strict_column(metrics) in ACCURACIES


def strict_label(metrics: Mapping[str, Any]) -> str:
    """What to call the value under 'strict'."""
    return _label(strict_column(metrics))


def soft_label(metrics: Mapping[str, Any]) -> str | None:
    """What to call the value under 'soft'; None where it is the same as the one under 'strict'."""
    return None if soft_column(metrics) == strict_column(metrics) else _label(soft_column(metrics))


def capitalised(label: str) -> str:
    """A label as a sentence begins: a reward's own column as it is."""
    return label.capitalize() if label in _USUAL.values() else label


def further_terms(metrics: Mapping[str, Any], kind: str = "terms") -> dict[str, Mapping[str, Any]]:
    """The reward terms (or those 'watched') that are neither under 'strict' nor under 'soft', by name."""
    first: Mapping[str, Any] = next(iter(metrics.get("terms", {}).values()), {})
    shown = {(first.get("reward"), column(metrics)) for column in (strict_column, soft_column)}
    return {n: term for n, term in metrics.get(kind, {}).items() if (term["reward"], term["column"]) not in shown}


def judged_on(metrics: Mapping[str, Any]) -> str:
    """What an evaluation's means are of: '12 held-out images, 1 of them not scored'."""
    dropped = metrics.get("dropped_images")
    return f"{metrics['images']} held-out images" + (f", {dropped} of them not scored" if dropped else "")


def headline(metrics: Mapping[str, Any]) -> str:
    """An evaluation in a line, such as 'strict accuracy 0.250, soft reward 0.500'."""
    parts = [f"{strict_label(metrics)} {metrics['strict']:.3f}"]
    soft = soft_label(metrics)
    if soft is not None:
        parts.append(f"{soft} {metrics['soft']:.3f}")
    parts += [f"{name} {term['mean']:.3f}" for name, term in further_terms(metrics).items()]
    return ", ".join(parts)


def result(*metrics: Mapping[str, Any]) -> str:
    """What evaluations came to in a few words, the first against the last: 'strict accuracy 0.250 → 0.875'."""
    first, last = metrics[0], metrics[-1]
    values = [f"{one['strict']:.3f}" for one in ((first, last) if len(metrics) > 1 else (last,))]
    return f"{strict_label(last)} {' → '.join(values)}"


def result_table(*metrics: Mapping[str, Any]) -> str:
    """What evaluations came to by task, as a Markdown table, with the change of the last from the one before it."""
    last = metrics[-1]
    names = [f"round {m['round']}" if m["round"] else "start" if m.get("policy_sha256") else "base" for m in metrics]
    head = ["task", *names, *(["change"] if len(metrics) > 1 else [])]
    rows = [(markdown(task), [one["tasks"].get(task) for one in metrics]) for task in last["tasks"]]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, values in [*rows, ("**mean of tasks**", [one["strict"] for one in metrics])]:
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        if len(values) > 1:
            cells.append("" if values[-2] is None else f"{values[-1] - values[-2]:+z.3f}")
        lines.append(f"| {' | '.join([name, *cells])} |")
    low, high = last["strict_ci95"]
    told = markdown(capitalised(strict_label(last)))
    told += f" on {judged_on(last)}; 95 % interval {low:z.3f} to {high:z.3f}"
    alarms = [f"- **alarm**: {markdown(alarm['message'])}" for alarm in last.get("alarms", ())]
    return "\n".join([f"{told}.", "", *lines, "", *alarms]).rstrip()


def _label(column: str) -> str:
    return _USUAL.get(column, column)
