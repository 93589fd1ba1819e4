"""A year of weekly retrainings: the retraining pipeline's inline form, and a registry of MLflow's."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from advantageflow.errors import UserError
from advantageflow.evaluation import stage as evaluation
from advantageflow.golden_checks.check import readable, score_pictures
from advantageflow.golden_checks.pictures import golden_pictures, record
from advantageflow.prompts import stage as prompts_stage
from advantageflow.records import METRICS_FILE, Prompt
from advantageflow.rewards.base import Result
from advantageflow.rewards.shapes import ShapesReward
from advantageflow.settings import RunSettings
from advantageflow.shapes.prompts import all_prompts
from advantageflow.store.files import read_json, read_metadata
from advantageflow.tracking.champion import champion
from advantageflow.tracking.events import JOURNAL_ENV
from advantageflow.tracking.mlflow_store import experiment_id, open_client, sqlite_uri
from advantageflow.tracking.promotion import Conclusion, conclude, inputs_sha256
from advantageflow.tracking.registration import Judged, last_judged
from advantageflow.tracking.registry import local_policy
from advantageflow_experiments.compare.style import PALE, picture
from advantageflow_pipelines.local.garbage import registered_versions, rejected_versions
from advantageflow_pipelines.local.inline import Stages
from advantageflow_pipelines.pipelines.definition import NothingToDo
from advantageflow_pipelines.pipelines.retraining.definition import begin_at_champion
from advantageflow_pipelines.pipelines.retraining.inline import run_retraining

NAME = "year"
FIRST = 48  # training prompts of the first week
NEW = 8  # of every other one
SETTINGS = {
    "preset": NAME,
    "pipeline": "retraining",
    "rounds": 3,
    "prompts": {"eval_prompts": 80, "replay_share": 0.5},
    "rollout": {"prompts_per_round": 12, "group_size": 8},
    "reward": {
        "name": "advantageflow_experiments.year.simulate:Judge",
        "watched": [{"name": "shapes", "column": "strict"}],
    },
    "training": {
        "gradient_steps": 8,
        "inner_epochs": 2,
        "learning_rate": 3e-3,
        "decay_rounds": "all",
        "objective": {"name": "advantage_flow", "lam": "auto", "space": "velocity", "reference_weight": 0.0},
        "advantage_scale": "group",
        "advantage_clip": 2.0,
        "rollout_decay": 0.0,
        "threads": 1,
    },
    "evaluation": {"every": 3, "images": 120, "batch": 60, "sample_prompts": 1, "threads": 1},
    "promotion": {"task_drop": 0.1},  # of 20 images a task and seed no smaller fall can be told
}


BROKEN_ENV = "ADVANTAGEFLOW_JUDGE_BROKEN"  # a reward of one's own lives in a process of its own, which inherits it
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
        judged = last_judged(folder / "journal")
        assert judged is not None
        done = self._conclude(judged)
        return "promoted" if done.promoted else f"kept: {'; '.join(done.reasons)}"

    def _conclude(self, judged: Judged) -> Conclusion:
        """Register the candidate, act on the gate's decision, and remove what `gc --rejected` does."""
        judged.inputs_sha256 = inputs_sha256(self._settings.model_dump(mode="json"), read_metadata(judged.prompts))
        run = self._client.create_run(experiment_id(self._client, self._uri, NAME))
        done = conclude(self._client, run, NAME, judged)
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


class Judge(ShapesReward):
    """As `shapes`; while it is broken, wrong pictures are right and right ones wrong."""

    name = "judge"

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        results = super().score(prompts, images)
        if BROKEN_ENV not in os.environ:
            return results
        return [({name: 1.0 - value for name, value in values.items()}, told) for values, told in results]


@dataclass(frozen=True)
class Week:
    """A week."""

    number: int  # from 1
    broken: str = ""  # whether the reward breaks: 'before' its check on golden pictures, 'after' it, or not at all ('')
    crashes: bool = False  # whether the run is killed amid its training, and started again
    news: bool = True  # whether there are new prompts


def weeks(count: int) -> list[Week]:
    """The weeks of a year; of a shorter one the first."""
    special = {
        5: Week(5, broken="before"), 6: Week(6, broken="after"), 9: Week(9, crashes=True), 12: Week(12, news=False),
    }  # fmt: skip
    return [special.get(number, Week(number)) for number in range(1, count + 1)]


def settings_in(folder: Path) -> RunSettings:
    """Those of every run of the year, whose prompts alone change; records what the reward gives while it is whole."""
    values = json.loads(json.dumps(SETTINGS))
    values["prompts"]["source"], values["reward"]["golden"] = str(folder / "prompts"), str(folder / "golden.json")
    judge, name = Judge(), values["reward"]["name"]
    pictures = readable(judge, golden_pictures())
    results = score_pictures(judge, pictures)
    record(folder / "golden.json", judge, name, {}, pictures, results, tolerance=0.01, with_pictures=False)
    return RunSettings.model_validate(values)


def write_prompts(week: Week, folder: Path) -> None:
    """Put a week's new prompts into the folder. Tasks drift: in each quarter another third of them prevails."""
    folder.mkdir(parents=True, exist_ok=True)
    if not week.news:
        return
    known = {json.loads(line)["text"] for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()}
    prompts = [prompt for prompt in all_prompts() if prompt.text not in known]
    train = [prompt for prompt in prompts if prompt.split == "train"]
    tasks = sorted({prompt.task for prompt in train})
    likely = {tasks[(week.number // 13 + number) % len(tasks)] for number in range(2)}
    draw = random.Random(week.number)
    ranked = sorted(train, key=lambda prompt: draw.random() / (4 if prompt.task in likely else 1))
    held_out = [prompt for prompt in prompts if prompt.split == "eval"]  # all in the first week, so that they are fixed
    lines = [
        json.dumps({"text": prompt.text, "split": prompt.split, "task": prompt.task, "spec": prompt.spec})
        for prompt in (*held_out, *ranked[: NEW if known else FIRST])
    ]
    (folder / f"week-{week.number:02d}.jsonl").write_text("".join(f"{line}\n" for line in lines))
