"""A year of weekly retrainings: the stages of the retraining pipeline in this process, and a registry of MLflow's."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advantageflow.errors import UserError
from advantageflow.evaluation import promotion
from advantageflow.evaluation import stage as evaluation
from advantageflow.evaluation.report import read_outcomes
from advantageflow.evaluation.statistics import task_means
from advantageflow.prompts import stage as prompts_stage
from advantageflow.prompts.changes import made_from
from advantageflow.rollout import stage as rollout
from advantageflow.scoring import stage as scoring
from advantageflow.settings import RunSettings
from advantageflow.tracking.champion import champion
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.tracking.mlflow_store import experiment_id, open_client, sqlite_uri
from advantageflow.tracking.promotion import Conclusion, conclude, inputs_sha256, look
from advantageflow.tracking.reading import read_events
from advantageflow.tracking.registration import Registration, from_event
from advantageflow.tracking.registry import local_policy
from advantageflow.training import stage as training
from advantageflow_experiments.year.judge import Judge
from advantageflow_experiments.year.weeks import NAME, Week, settings_in, weeks, write_prompts
from advantageflow_pipelines.local.garbage import registered_versions, rejected_versions

FIXED_SEED = 999  # of the noise by which champions are measured, which no gate sees


class Crashed(Exception):
    """What stands for a process that was killed."""


class Year:
    """A simulated year.

    Args:
        folder: of the registry, the prompts and a week's artifacts.
        report: told a line for each week.
    """

    def __init__(self, folder: Path, report: Callable[[str], None]) -> None:
        self._folder, self._report = folder, report
        self._uri = sqlite_uri(folder / "mlflow.db")
        self._client = open_client(self._uri)
        self._settings = settings_in(folder)
        self._accuracy: dict[str | None, float] = {}

    def run(self, count: int) -> list[dict[str, Any]]:
        """Simulate so many weeks; what each came to."""
        told = []
        for week in weeks(count):
            started = time.monotonic()
            write_prompts(week, self._folder / "prompts")
            outcome = self._week(week)
            entry = {"week": week.number, "outcome": outcome, "seconds": round(time.monotonic() - started, 1)}
            told.append(entry | self._state())
            self._report(f"week {week.number}: {outcome}; champion {told[-1]['accuracy']:.3f}")
            (self._folder / "year.json").write_text(json.dumps(told, indent=1))
        return told

    def _week(self, week: Week) -> str:
        for attempt in range(2):
            try:
                return self._retrain(week, crash=week.crashes and attempt == 0)
            except Crashed:
                self._report(f"week {week.number}: crashed, and is started again")
            except UserError as error:
                return f"failed: {error.message}"
            finally:
                Judge.broken = False
                shutil.rmtree(self._folder / "week", ignore_errors=True)
        raise AssertionError

    def _retrain(self, week: Week, *, crash: bool) -> str:
        """What the retraining pipeline does, stage by stage."""
        settings, folder = self._settings, self._folder / "week"
        inputs = inputs_sha256(settings.model_dump(mode="json"), made_from(settings.prompts, settings.reward))
        start = look(self._client, NAME, inputs)
        if start.unchanged:
            return "nothing to do"
        journal = Journal("week", folder / "journal" / "week.jsonl")
        (folder / "journal").mkdir(parents=True)
        Judge.broken = week.broken == "before"
        with journal_in_use(journal):
            init = str(local_policy(start.parent, self._uri)) if start.parent else None
            _train(settings, folder, init, week, crash=crash)
        event = [one for one in read_events(folder / "journal") if one["event"] == "policy"][-1]
        return _said(self._conclude(from_event(NAME, event, inputs), event))

    def _conclude(self, what: Registration, event: dict[str, Any]) -> Conclusion:
        run = self._client.create_run(experiment_id(self._client, self._uri, NAME))
        done = conclude(self._client, run, what, event["decision"])
        self._client.set_terminated(run.info.run_id)
        for one in rejected_versions(self._client, registered_versions(self._client), days=0):
            one.remove()
        return done

    def _state(self) -> dict[str, Any]:
        """The champion and its accuracy on fixed held-out prompts and noise, and what has accumulated."""
        version = champion(self._client, NAME).version
        if version not in self._accuracy:
            self._accuracy[version] = self._measure(version)
        files = [path.stat().st_size for path in self._folder.rglob("*") if path.is_file()]
        kept = len(self._client.search_model_versions(f"name = '{NAME}'"))
        return {
            "champion": version,
            "accuracy": self._accuracy[version],
            "megabytes": round(sum(files) / 1e6, 1),
            "versions": kept,
        }

    def _measure(self, version: str | None) -> float:
        settings, folder = self._settings, self._folder / "measure"
        reward = settings.reward.model_copy(update={"name": "shapes", "watched": (), "golden": None})
        if not folder.exists():  # the held-out prompts are those of the first week all year
            prompts_stage.run(
                settings.prompts, settings.model, reward, 0, init_policy=None, prompts_out=folder / "prompts",
                conditioning_out=folder / "conditioning", policy_out=folder / "base",
            )  # fmt: skip
        policy = folder / "base" if version is None else local_policy(f"models:/{NAME}/{version}", self._uri)
        evaluation.run(
            settings.evaluation, settings.model, reward, FIXED_SEED, 0, 240, prompts=folder / "prompts",
            conditioning=folder / "conditioning", policy=policy, report_out=folder / "report",
        )  # fmt: skip
        accuracy = task_means(read_outcomes(folder / "report"), "strict").overall.mean
        shutil.rmtree(folder / "report")
        return accuracy


def _train(settings: RunSettings, folder: Path, init: str | None, week: Week, *, crash: bool) -> None:
    """Prepare, evaluate, train, evaluate, decide."""
    model, reward, seed = settings.model, settings.reward, settings.seed
    prompts, conditioning, start = folder / "prompts", folder / "conditioning", folder / "start"
    prompts_stage.run(
        settings.prompts, model, reward, seed, init_policy=init, prompts_out=prompts, conditioning_out=conditioning,
        policy_out=start,
    )  # fmt: skip
    Judge.broken = bool(week.broken)
    texts: dict[str, Any] = {"prompts": prompts, "conditioning": conditioning}
    images = settings.evaluation.images
    before, after = folder / "before", folder / "after"
    evaluation.run(settings.evaluation, model, reward, seed, 0, images, policy=start, report_out=before, **texts)
    policy, shards = start, settings.rollout.model_copy(update={"shards": 1})
    for number in range(1, settings.rounds + 1):
        here = folder / f"round-{number}"
        rollout.run(
            shards, model, seed, number, 0, rollout_policy=policy, rollouts_out=here / "rollouts",
            latents_out=here / "latents", **texts,
        )  # fmt: skip
        scoring.run(reward, prompts=prompts, rollouts=here / "rollouts", scores_out=here / "scores")
        if crash:
            raise Crashed
        training.run(
            settings.training, reward, model, seed, number, policy=policy, latents=[here / "latents"],
            scores=[here / "scores"], policy_out=here / "policy", **texts,
        )  # fmt: skip
        policy = here / "policy"
    evaluation.run(
        settings.evaluation, model, reward, seed, settings.rounds, images, policy=policy, report_out=after, base=before,
        **texts,
    )  # fmt: skip
    promotion.run(
        settings.promotion, settings.evaluation, model, reward, seed, champion=start, candidate=policy, before=before,
        after=after, decision_out=folder / "decision", **texts,
    )  # fmt: skip


def _said(done: Conclusion) -> str:
    return "promoted" if done.promoted else f"kept: {'; '.join(done.reasons)}"
