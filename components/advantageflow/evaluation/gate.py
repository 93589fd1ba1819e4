"""The gate between a candidate and the champion: promoted where it is better beyond doubt, else kept, with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from types import MappingProxyType
from typing import Any

from advantageflow.evaluation.statistics import Outcome, difference
from advantageflow.settings_evaluation import PromotionSettings


@dataclass(frozen=True)
class Trial:
    """Both policies, judged on equal prompts and noise."""

    seed: int  # of the noise
    champion: Sequence[Outcome]  # how its images were judged
    candidate: Sequence[Outcome]
    alarms: Sequence[str] = ()  # of the candidate's evaluation, held against the champion's


@dataclass(frozen=True)
class Change:
    """How the candidate differs from the champion in one trial."""

    seed: int
    mean: float  # paired difference of the mean of task means, positive where the candidate is better
    at_least: float  # its bounds, each one-sided at the confidence of the gate
    at_most: float
    tasks: dict[str, float]  # difference of each task's mean


@dataclass(frozen=True)
class Decision:
    """What the gate says: the reasons against the candidate (none: it is promoted), and the change of each trial."""

    reasons: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def promote(self) -> bool:
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """Its fields, whether to `promote`, and the changes in a line, `summary`."""
        told = [f"{one.mean:+.3f} (at least {one.at_least:+.3f}) on seed {one.seed}" for one in self.changes]
        return {"promote": self.promote, "summary": "; ".join(told), **asdict(self)}


def decide(
    trials: Sequence[Trial],
    settings: PromotionSettings,
    *,
    higher_is_better: bool = True,
    watched: Mapping[str, bool] = MappingProxyType({}),
) -> Decision:
    """Hold a candidate against the champion.
    Raises DataError: the policies of a trial were not judged on the same images.

    Args:
        higher_is_better: whether the measure is to rise.
        watched: terms that training does not see, each with whether it is to rise.
    """

    def change(trial: Trial, column: str, rises: bool) -> Change:
        means = difference(trial.champion, trial.candidate, column, level=2 * settings.confidence - 1)
        sign = 1 if rises else -1
        low, high = sorted(sign * bound for bound in means.overall.ci95)
        tasks = {task: sign * one.mean for task, one in means.tasks.items()}
        return Change(trial.seed, sign * means.overall.mean, low, high, tasks)

    changes = tuple(change(trial, settings.measure, higher_is_better) for trial in trials)
    reasons = []
    if len({trial.seed for trial in trials}) < settings.seeds:
        reasons.append(f"judged on {len(trials)} seeds, fewer than {settings.seeds}")
    reasons += [
        f"no improvement beyond doubt on seed {one.seed}: {settings.measure} {one.mean:+.3f}"
        f", at least {one.at_least:+.3f} at confidence {settings.confidence:g}"
        for one in changes
        if one.at_least <= 0
    ]
    for task in changes[0].tasks if changes else ():
        fall = -fmean(one.tasks[task] for one in changes)
        if fall > settings.task_drop:
            reasons.append(f"task '{task}' falls by {fall:.3f}, more than {settings.task_drop:g}")
    if settings.watched_must_hold:
        for name, rises in watched.items():
            reasons += [
                f"watched reward '{name}' falls beyond doubt on seed {one.seed}: {one.mean:+.3f}, at most "
                f"{one.at_most:+.3f}"
                for one in (change(trial, name, rises) for trial in trials)
                if one.at_most < 0
            ]
        reasons += [f"alarm: {message}" for message in dict.fromkeys(m for trial in trials for m in trial.alarms)]
    return Decision(tuple(reasons), changes)
