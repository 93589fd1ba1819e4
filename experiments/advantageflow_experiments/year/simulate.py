"""A year of weekly retrainings: the retraining pipeline's inline form, and a registry of MLflow's."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from advantageflow.errors import UserError
from advantageflow.evaluation import stage as evaluation
from advantageflow.prompts import stage as prompts_stage
from advantageflow.records import METRICS_FILE
from advantageflow.store.files import read_json, read_metadata
from advantageflow.tracking.champion import champion
from advantageflow.tracking.events import JOURNAL_ENV, read_events
from advantageflow.tracking.mlflow_store import experiment_id, open_client, sqlite_uri
from advantageflow.tracking.promotion import Conclusion, conclude, inputs_sha256
from advantageflow.tracking.registration import from_event
from advantageflow.tracking.registry import local_policy
from advantageflow_experiments.compare.style import PALE, picture
from advantageflow_experiments.year.weeks import BROKEN_ENV, NAME, Week, settings_in, weeks, write_prompts
from advantageflow_pipelines.local.garbage import registered_versions, rejected_versions
from advantageflow_pipelines.local.inline import Stages
from advantageflow_pipelines.pipelines.definition import NothingToDo
from advantageflow_pipelines.pipelines.retraining.definition import begin_at_champion
from advantageflow_pipelines.pipelines.retraining.inline import run_retraining

FIXED_SEED = 999  # of the noise by which champions are measured, which no gate sees
MEASURED = 240  # images
_MARKS = {"promoted": "^", "kept": "v", "failed": "x", "nothing": "o"}


class Crashed(Exception):
    """What stands for a process that was killed."""


class _Stages(Stages):
    """Those of a week, whose reward may break, and which may be killed before its training."""

    def __init__(self, folder: Path, week: Week, crash: bool) -> None:
        super().__init__(folder)
        self._week, self._crash = week, crash

    def run(self, stage: str, *given: Any, **arguments: Any) -> dict[str, Path]:
        if stage == "training" and self._crash:
            raise Crashed
        if self._week.broken == "before" or (self._week.broken == "after" and stage != "prompts"):
            os.environ[BROKEN_ENV] = "1"
        try:
            return super().run(stage, *given, **arguments)
        finally:
            os.environ.pop(BROKEN_ENV, None)


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
            started = time.process_time()
            write_prompts(week, self._folder / "prompts")
            outcome = self._retrain(week)
            shutil.rmtree(self._folder / "week", ignore_errors=True)
            entry = {"week": week.number, "outcome": outcome, "cpu_seconds": round(time.process_time() - started, 1)}
            told.append(entry | self._state())
            self._report(f"week {week.number}: {outcome}; champion {told[-1]['accuracy']:.3f}")
            (self._folder / "year.json").write_text(json.dumps(told, indent=1))
        return told

    def _retrain(self, week: Week) -> str:
        """What `advantageflow run --pipeline retraining` does; a run that crashed is continued."""
        folder = self._folder / "week"
        (folder / "journal").mkdir(parents=True)
        os.environ[JOURNAL_ENV] = str(folder / "journal")
        try:
            settings = begin_at_champion(self._settings, self._uri)
            if settings.init_policy is not None:
                start = str(local_policy(settings.init_policy, self._uri))
                settings = settings.model_copy(update={"init_policy": start})
            try:
                run_retraining(settings, _Stages(folder / "tasks", week, week.crashes))
            except Crashed:
                self._report(f"week {week.number}: crashed, and is continued")
                run_retraining(settings, _Stages(folder / "tasks", week, False))
        except NothingToDo:
            return "nothing to do"
        except UserError as error:
            return f"failed: {error.message}"
        done = self._conclude([one for one in read_events(folder / "journal") if one["event"] == "policy"][-1])
        return "promoted" if done.promoted else f"kept: {'; '.join(done.reasons)}"

    def _conclude(self, event: Mapping[str, Any]) -> Conclusion:
        """Register the candidate, act on the gate's decision, and remove what `gc --rejected` does."""
        inputs = inputs_sha256(self._settings.model_dump(mode="json"), read_metadata(Path(event["prompts"])))
        run = self._client.create_run(experiment_id(self._client, self._uri, NAME))
        done = conclude(self._client, run, from_event(NAME, dict(event), inputs), event["decision"])
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
            settings.evaluation, settings.model, reward, FIXED_SEED, 0, MEASURED, prompts=folder / "prompts",
            conditioning=folder / "conditioning", policy=policy, report_out=folder / "report",
        )  # fmt: skip
        accuracy = read_json(folder / "report" / METRICS_FILE)["strict"]
        shutil.rmtree(folder / "report")
        return float(accuracy)


def plot_year(told: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The champion's accuracy, and what became of each week's candidate, as PNG.
    Raises StoreError: it cannot be written.
    """
    with picture(path, 8, 4) as figure:
        axes = figure.subplots()
        axes.step([one["week"] for one in told], [one["accuracy"] for one in told], where="post", label="champion")
        for outcome, mark in _MARKS.items():
            of_these = [one for one in told if one["outcome"].startswith(outcome)]
            if of_these:
                at = [[one[key] for one in of_these] for key in ("week", "accuracy")]
                axes.scatter(*at, marker=mark, color=PALE, s=30, zorder=3, label=f"{outcome} ({len(of_these)})")  # type: ignore[misc]
        axes.set_xlabel("week")
        axes.set_ylabel("strict accuracy, fixed prompts and noise")
        axes.set_title("A year of weekly retrainings, simulated")
        axes.legend()
