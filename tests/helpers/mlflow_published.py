"""The journals of a small run, published to an MLflow store and read back from it."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from advantageflow.errors import DataError
from advantageflow.tracking.events import tail
from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.publisher import Publisher

SETTINGS = {
    "rollout": {"steps": 6, "sampler": "ab2", "group_size": 4},
    "training": {"lam": 1.0, "lora": {"targets": ["to_q", "to_k"]}},
}


def write_journals(folder: Path) -> None:
    prompts = folder / "prompts.parquet"
    pq.write_table(pa.table({"prompt_id": ["a", "b"], "text": ["a red circle", "a blue star"]}), prompts)
    picture = folder / "picture.png"
    Image.new("RGB", (64, 64), "teal").save(picture)
    (folder / "notes").mkdir()
    (folder / "notes" / "note.txt").write_text("kept")
    with stage_journal("prompts") as journal:
        journal.useful()
        journal.dataset(prompts)
    for shard in (0, 1):
        with stage_journal("rollout", 1, shard, {"settings": {"steps": 6}, "model": {"name": "shapes"}}) as journal:
            journal.useful()
            journal.progress(1, 1, "images")
            journal.metrics({"images_per_second": 70.0 + shard})
    with stage_journal("evaluation", 1) as journal:
        journal.metrics({"eval/strict": 0.4}, step=1, parent=True)
        journal.image("samples/01 'a red circle'", picture, step=1)
        journal.artifact(folder / "notes", "notes")
    with stage_journal("evaluation", 2) as journal:
        journal.metrics({"eval/strict": 0.5}, parent=True)
    with stage_journal("loop", 2) as journal:
        journal.metrics({"training/loss": 3.0}, step=40)
        journal.metrics({"training/loss": 1.0}, parent=True)
    with pytest.raises(DataError), stage_journal("training", 2):
        raise DataError("row is broken", where="scores.parquet: row 3", remedy="score again")


def publish(store: str, journal: Path, **options: str) -> Publisher:
    publisher = Publisher(store, "advantageflow", "shapes-1", SETTINGS, {"seed": "0", "preset": "shapes"}, **options)
    stop = threading.Event()
    stop.set()
    publisher.consume(tail(journal, stop))
    return publisher


def task_runs(client: MlflowClient, parent: Run) -> list[Run]:
    return list(client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"))


def children(client: MlflowClient, parent: Run) -> dict[str, Run]:
    return {run.info.run_name: run for run in task_runs(client, parent)}


def curve(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]


def everything(client: MlflowClient, parent: Run) -> list[tuple[str, ...]]:
    """What MLflow has of a run, in words: runs, points, pictures."""
    found = []
    for run in (parent, *task_runs(client, parent)):
        name = run.info.run_name
        found.append((name, run.info.status, *sorted(run.data.params.items())))
        found += [(name, metric, *map(str, curve(client, run, metric))) for metric in run.data.metrics]
        found += [(name, re.sub(r"\+timestamp.*?(%|$)", "", file.path)) for file in client.list_artifacts(
            run.info.run_id, "images")]  # fmt: skip
    return sorted(found, key=str)
