"""The promotion stage: judges a candidate against the champion on further seeds, and decides which is to be used."""

from __future__ import annotations

import os
from pathlib import Path

from advantageflow.evaluation import stage
from advantageflow.evaluation.gate import Trial, decide
from advantageflow.evaluation.report import read_outcomes
from advantageflow.records import METRICS_FILE, derive_seed
from advantageflow.settings import EvaluationSettings, ModelSettings, RewardSettings
from advantageflow.settings_evaluation import PromotionSettings
from advantageflow.store.files import publish, read_json, write_json
from advantageflow.tracking.events import JOURNAL_ENV, TRACKING_ENV
from advantageflow.tracking.journal import current_journal, journal_in_use

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
        from advantageflow.tracking.promotion import conclude_on_cluster

        conclude_on_cluster(journal)
