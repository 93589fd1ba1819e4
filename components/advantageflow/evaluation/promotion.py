"""The promotion stage: judges a candidate against the champion on further seeds, and decides which is to be used."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

from advantageflow.evaluation import stage
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import Outcome, difference
from advantageflow.records import METRICS_FILE, derive_seed
from advantageflow.settings import EvaluationSettings, ModelSettings, RewardSettings
from advantageflow.settings_stages import PromotionSettings
from advantageflow.store.files import publish, read_json, write_json
from advantageflow.tracking.events import JOURNAL_ENV, TRACKING_ENV
from advantageflow.tracking.journal import current_journal, journal_in_use
from advantageflow.tracking.promotion import conclude_on_cluster

DECISION_FILE = "decision.json"


def run(
    settings: PromotionSettings,
    evaluation: EvaluationSettings,
    model: ModelSettings,
    reward: RewardSettings,
    seed: int,
    *,
    prompts: Path,
    conditioning: Path,
    champion: Path,
    candidate: Path,
    before: Path,
    after: Path,
    decision_out: Path,
    inputs_sha256: str = "",
) -> None:
    """Decide between two policies; whoever records the run in MLflow registers the candidate and acts on it.

    Args:
        evaluation, model, reward: as the evaluation stage.
        seed: the run's, and that of the evaluations that are there already.
        prompts, conditioning: of the run, whose 'eval' prompts are used.
        champion: the policy that the run started from; the base model where there was no champion.
        before, after: reports of the champion and of the candidate, with `seed`; the second held against the first.
        decision_out: folder to write: decision.json, and the reports of the further seeds.
        inputs_sha256: of what the run was made from, see `tracking.promotion`; empty where that is found out elsewhere.

    Raises:
        UserError: as the evaluation stage.
        TrackingError: on a cluster, where the task itself registers the candidate: MLflow refuses or is away.
    """
    journal, images = current_journal(), read_json(before / METRICS_FILE)["images"]
    trained_for = read_json(after / METRICS_FILE)["round"]
    with publish(decision_out) as partial:
        pairs = {seed: (before, after)}
        for number in range(1, settings.seeds):
            again = derive_seed(seed, "promotion", number) % 2**31
            pairs[again] = (partial / f"champion-{number}", partial / f"candidate-{number}")
            for policy, report, base in ((champion, pairs[again][0], None), (candidate, *reversed(pairs[again]))):
                with journal_in_use(stage.Quiet(journal)):  # the run's curves are those of its own seed
                    stage.run(
                        evaluation, model, reward, again, 0 if base is None else trained_for, images,
                        prompts=prompts, conditioning=conditioning, policy=policy, report_out=report, base=base,
                    )  # fmt: skip
        metrics = read_json(after / METRICS_FILE)
        trials = [
            Trial(
                one, read_outcomes(of_champion), read_outcomes(of_candidate),
                [alarm["message"] for alarm in read_json(of_candidate / METRICS_FILE)["alarms"]],
            )
            for one, (of_champion, of_candidate) in pairs.items()
        ]  # fmt: skip
        decision = decide(
            trials,
            settings,
            higher_is_better=next(iter(metrics["terms"].values()))["higher_is_better"],
            watched={name: term["higher_is_better"] for name, term in metrics["watched"].items()},
        )
        write_json(partial / DECISION_FILE, decision.as_json())
    for change in decision.changes:
        journal.metrics({"promotion/change": change.mean, "promotion/at_least": change.at_least}, step=change.seed)
    journal.metrics({"promotion/promote": float(decision.promote)}, step=trained_for, parent=True)
    journal.policy(
        candidate, (before, after), prompts, evaluation.model_dump(mode="json"), seed,
        decision=decision.as_json(), inputs_sha256=inputs_sha256,
    )  # fmt: skip
    if os.environ.get(TRACKING_ENV) and not os.environ.get(JOURNAL_ENV):
        conclude_on_cluster(journal)


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
        told = [f"{one.mean:+z.3f} (at least {one.at_least:+z.3f}) on seed {one.seed}" for one in self.changes]
        return {"promote": self.promote, "summary": "; ".join(told), **asdict(self)}


def decide(
    trials: Sequence[Trial],
    settings: PromotionSettings,
    *,
    higher_is_better: bool = True,
    watched: Mapping[str, bool] = MappingProxyType({}),
) -> Decision:
    """Hold a candidate against the champion, in a trial for each evaluation seed.

    Whether the measure is to rise is `higher_is_better`; `watched` are terms that training does not see, each with
    whether it is to rise. Raises DataError: the policies of a trial were not judged on the same images.
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
        f"no improvement beyond doubt on seed {one.seed}: {settings.measure} {one.mean:+z.3f}"
        f", at least {one.at_least:+z.3f} at confidence {settings.confidence:g}"
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
                f"watched reward '{name}' falls beyond doubt on seed {one.seed}: {one.mean:+z.3f}, at most "
                f"{one.at_most:+z.3f}"
                for one in (change(trial, name, rises) for trial in trials)
                if one.at_most < 0
            ]
        reasons += [f"alarm: {message}" for message in dict.fromkeys(m for trial in trials for m in trial.alarms)]
    return Decision(tuple(reasons), changes)
