"""The report artifact, and its numbers: means of tasks and terms with their intervals, and what judged them.

Beside the numbers it has every image's verdict, and pictures to look at.
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from advantageflow.annotations import Image
from advantageflow.evaluation.labels import SOFT, STRICT
from advantageflow.evaluation.pictures import SAMPLES_FOLDER, SAMPLES_INDEX, Sample, enlarge, sample_path, sample_sheet
from advantageflow.evaluation.statistics import Outcome, task_means
from advantageflow.records import METRICS_FILE
from advantageflow.rewards.base import Reward, headline_column
from advantageflow.rewards.plumbing.terms import term_name
from advantageflow.settings import RewardSettings, RewardTerm
from advantageflow.store.files import publish, write_json, writing
from advantageflow.store.tables import read_table, write_table
from advantageflow.watch.images import STATISTICS

OUTCOMES_FILE = "evaluation.parquet"
BASE_FOLDER = "base"  # a report within that of the policy that a run starts from: the base model's, on the same images
STATISTICS_FILE = "statistics.parquet"
SHEET_FILE = "samples.png"

_COLUMNS = {
    "prompt_id": "string",
    "task": "string",
    "repetition": "int64",
    "seed": "int64",
    "strict": "float64",
    "soft": "float64",
}
_STATISTICS = {"prompt_id": "string", "seed": "int64", **dict.fromkeys(STATISTICS, "float64")}


def write_report(
    folder: Path,
    metrics: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    samples: Sequence[tuple[Sample, Image]],
    statistics: Sequence[Mapping[str, Any]] = (),
    finish: Callable[[Path], None] | None = None,
    base: Path | None = None,
) -> None:
    """Publish a report artifact. Raises StoreError: it cannot be written.

    Args:
        outcomes: how each image was judged, at least one.
        samples: pictures to look at.
        statistics: of each image, see ImageStatistics.
        finish: adds to the folder, whose files are complete by then, before it is published.
        base: the report of the base model to keep in BASE_FOLDER of it.
    """
    with publish(folder) as partial:
        columns = _COLUMNS | dict.fromkeys(outcomes[0].terms, "float64")
        write_table(partial / OUTCOMES_FILE, [{**asdict(one), **one.terms} for one in outcomes], columns)
        write_table(partial / STATISTICS_FILE, statistics, _STATISTICS)
        (partial / SAMPLES_FOLDER).mkdir()
        for number, (_, picture) in enumerate(samples):
            path = sample_path(partial, number)
            with writing(path):
                enlarge(picture).save(path)
        write_json(partial / SAMPLES_INDEX, {"samples": [asdict(sample) for sample, _ in samples]})
        sample_sheet({"held-out prompts": partial}, partial / SHEET_FILE)
        write_json(partial / METRICS_FILE, metrics)
        if base is not None:
            shutil.copytree(base, partial / BASE_FOLDER)
        if finish is not None:
            finish(partial)


def compared_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report by which Kubeflow's page compares runs: strict and soft, and strict of each task."""
    tasks = {f"strict {task}": value for task, value in metrics["tasks"].items()}
    return {"strict": metrics["strict"], "soft": metrics["soft"], **tasks}


def read_outcomes(folder: Path) -> list[Outcome]:
    """The verdict on every image of a report; raises as read_table."""
    rows = read_table(folder / OUTCOMES_FILE, _COLUMNS)
    terms = [name for name in (rows[0] if rows else {}) if name not in _COLUMNS]
    return [Outcome(**{key: row[key] for key in _COLUMNS}, terms={name: row[name] for name in terms}) for row in rows]


def read_statistics(folder: Path) -> list[dict[str, Any]]:
    """Prompt_id, seed and STATISTICS (NaN where undefined) of every image of a report; raises as read_table."""
    return read_table(folder / STATISTICS_FILE, _STATISTICS)


def evaluation_metrics(
    outcomes: Sequence[Outcome], judges: Mapping[str, Reward], reward: RewardSettings
) -> dict[str, Any]:
    """The numbers of metrics.json; strict, soft and terms are means of the task means, as GenEval reports them.

    `terms` and `watched` have, by name, `mean` and `ci95` and what a reader must know: reward, column, direction;
    where a term has a minimum also that, and `acceptable`, the share of images that meet it.
    """
    judge = judges[reward.name]
    strict, soft = task_means(outcomes, STRICT), task_means(outcomes, SOFT)
    return {
        "images": len(outcomes),
        "prompts": len({outcome.prompt_id for outcome in outcomes}),
        "reward": judge.name,
        "reward_version": judge.version,
        "reward_versions": {name: one.version for name, one in judges.items()},
        "strict_column": headline_column(judge, reward.column),
        "soft_column": SOFT if SOFT in judge.columns else reward.column,
        "strict": strict.overall.mean,
        "strict_ci95": strict.overall.ci95,
        "soft": soft.overall.mean,
        "soft_ci95": soft.overall.ci95,
        "tasks": {task: one.mean for task, one in strict.tasks.items()},
        "tasks_ci95": {task: one.ci95 for task, one in strict.tasks.items()},
        "tasks_soft": {task: one.mean for task, one in soft.tasks.items()},
        "terms": {term_name(term): _term(outcomes, term, judges[term.name]) for term in reward.terms},
        "watched": {term_name(term): _term(outcomes, term, judges[term.name]) for term in reward.watched},
    }


def _term(outcomes: Sequence[Outcome], term: RewardTerm, judge: Reward) -> dict[str, Any]:
    metrics = task_means(outcomes, term_name(term)).overall.as_json() | {
        "reward": term.name,
        "column": term.column,
        "higher_is_better": judge.higher_is_better,
    }
    if term.minimum is None:
        return metrics
    values = [outcome.value(term_name(term)) for outcome in outcomes]
    met = [
        (value > term.minimum) == judge.higher_is_better or math.isclose(value, term.minimum, rel_tol=1e-12)
        for value in values
    ]
    return {**metrics, "minimum": term.minimum, "acceptable": sum(met) / len(values)}
