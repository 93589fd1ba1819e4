"""A run's journals published to a real MLflow sqlite store and read back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from advantageflow.errors import DataError, TrackingError
from advantageflow.store.files import read_json
from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.mlflow_store import sqlite_uri
from advantageflow.tracking.publisher import Publisher
from advantageflow.tracking.reading import read_events, tail
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.tracking import sync_run
from advantageflow_pipelines.local.workdir import create_workdir

SETTINGS = {
    "rollout": {"steps": 6, "sampler": "ab2", "group_size": 4},
    "training": {"lam": 1.0, "lora": {"targets": ["to_q", "to_k"]}},
}


@pytest.fixture(scope="session")
def created_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose tables exist: creating them takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Publisher(sqlite_uri(path), "advantageflow", "first", {}, {}).close()
    return path


@pytest.fixture
def store(created_store: Path, tmp_path: Path) -> str:
    copy = tmp_path / "mlflow.db"
    copy.write_bytes(created_store.read_bytes())
    return sqlite_uri(copy)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journals of a small run: prompts, two rollout shards, a training that fails."""
    folder = tmp_path / "journal"
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(folder))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    write_journals(tmp_path)
    return folder


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


def test_a_run_becomes_a_parent_with_curves_settings_pictures_dataset_and_tags(
    store: str, journal: Path, tmp_path: Path
) -> None:
    publisher = publish(store, journal)
    (tmp_path / "summary.json").write_text("{}")
    publisher.artifact(tmp_path / "summary.json")
    publisher.artifact(tmp_path / "notes", "report")
    publisher.close()

    client = MlflowClient(store)
    parent = client.get_run(publisher.run_id)
    assert (parent.info.run_name, parent.info.status) == ("shapes-1", "FINISHED")
    assert parent.data.params == {"rollout.group_size": "4"}, "those that people tell runs apart by"
    kept = client.download_artifacts(parent.info.run_id, "settings.json", str(tmp_path))
    assert json.loads(Path(kept).read_text()) == SETTINGS
    assert (parent.data.tags["seed"], parent.data.tags["preset"]) == ("0", "shapes")
    assert "mlflow 3." in parent.data.tags["versions"]
    assert parent.data.tags["mlflow.user"]
    assert curve(client, parent, "eval/strict") == [(1, 0.4), (2, 0.5)]
    assert [step for step, _ in curve(client, parent, "time/rollout")] == [1]
    assert "images_per_second" not in parent.data.metrics
    [dataset] = parent.inputs.dataset_inputs
    assert dataset.dataset.name == "prompts"
    assert '"num_rows": 2' in dataset.dataset.profile
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "training")]
    pictures = [file.path for file in client.list_artifacts(parent.info.run_id, "images")]
    assert len(pictures) == 2  # full size and preview
    assert all(path.startswith("images/examples~01  a red circle+step+1+") for path in pictures)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "images", "report", "settings.json", "summary.json",
    }  # fmt: skip


def test_each_stage_task_becomes_a_child_run_with_its_own_settings_metrics_and_end(store: str, journal: Path) -> None:
    publisher = publish(store, journal)
    publisher.close()
    client = MlflowClient(store)
    runs = children(client, client.get_run(publisher.run_id))
    assert set(runs) == {
        "prompts", "round 1 / rollout 0", "round 1 / rollout 1", "round 1 / evaluation", "round 2 / evaluation",
        "round 2 / training",
    }  # fmt: skip
    rollout = runs["round 1 / rollout 1"]
    assert rollout.data.params == {"rollout.steps": "6", "model.name": "shapes"}
    assert curve(client, rollout, "images_per_second") == [(1, 71.0)]
    assert {"overhead_seconds", "seconds", "cpu_seconds"} < set(rollout.data.metrics)
    assert (rollout.data.tags["stage"], rollout.data.tags["round"], rollout.data.tags["shard"]) == ("rollout", "1", "1")
    assert rollout.info.status == "FINISHED"
    notes = client.list_artifacts(runs["round 1 / evaluation"].info.run_id, "notes")
    assert [file.path for file in notes] == ["notes/note.txt"]
    failed = runs["round 2 / training"]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["error"] == "DataError: row is broken"


def test_an_alarm_is_a_tag_of_the_whole_run_that_keeps_what_it_last_said(store: str, journal: Path) -> None:
    for number in (1, 2):
        with stage_journal("evaluation", number) as task:
            task.metrics({"alarm/watched/a.b": 1.0}, step=number, parent=True)
            task.alarm("watched/a.b", f"a.b fell by {number}", step=number)
            task.warning(f"{number} texts are cut")
    publisher = publish(store, journal)
    publisher.close()
    client = MlflowClient(store)
    parent = client.get_run(publisher.run_id)
    assert parent.data.tags["alarm"] == "true"
    assert parent.data.tags["warnings"] == "1 texts are cut\n2 texts are cut"
    assert parent.data.tags["alarm.watched/a.b"] == "round 2: a.b fell by 2"
    assert curve(client, parent, "warnings/watched/a.b") == [(1, 1.0), (2, 1.0)]
    told = [run for run in task_runs(client, parent) if "alarm" in run.data.tags]
    assert len(told) == 2
    assert all(run.data.tags["stage"] == "evaluation" for run in told)


def test_a_resumed_run_continues_in_the_same_parent_and_skips_what_was_published(
    store: str, journal: Path, tmp_path: Path
) -> None:
    first = publish(store, journal)
    first.close("FAILED")
    publisher = Publisher(store, "advantageflow", "ignored", {**SETTINGS, "rounds": 3}, {}, run_id=first.run_id)
    client = MlflowClient(store)
    assert client.get_run(first.run_id).info.status == "RUNNING"
    with stage_journal("training", 2) as retried:
        retried.metrics({"train/loss": 1.0}, parent=True)
    publisher.consume(read_events(journal))
    publisher.close()
    parent = client.get_run(first.run_id)
    assert parent.info.run_name == "shapes-1"
    assert parent.info.status == "FINISHED"
    assert parent.data.params["rounds"] == "3"
    assert curve(client, parent, "eval/strict") == [(1, 0.4), (2, 0.5)]
    assert curve(client, parent, "train/loss") == [(2, 1.0)]


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


def test_a_publisher_that_was_killed_anywhere_leaves_nothing_double_missing_or_running(
    store: str, journal: Path
) -> None:
    whole = publish(store, journal)
    whole.close()
    client = MlflowClient(store)
    wanted = everything(client, client.get_run(whole.run_id))
    events = read_events(journal)
    killed = Publisher(store, "advantageflow", "shapes-1", SETTINGS, {"seed": "0", "preset": "shapes"})
    for number in range(0, len(events), 6):
        killed.consume(events[:number])  # and gone
        killed = Publisher(store, "advantageflow", "shapes-1", SETTINGS, {}, run_id=killed.run_id)
    killed.consume(events)
    killed.close()
    assert everything(client, client.get_run(killed.run_id)) == wanted


def test_an_event_that_mlflow_did_not_take_is_brought_there_by_the_next_attempt(
    store: str, journal: Path, tmp_path: Path
) -> None:
    (tmp_path / "picture.png").rename(tmp_path / "hidden.png")
    first = publish(store, journal)
    with pytest.raises(TrackingError):
        first.close()
    (tmp_path / "hidden.png").rename(tmp_path / "picture.png")
    again = publish(store, journal, run_id=first.run_id)
    again.close()
    client = MlflowClient(store)
    assert len(client.list_artifacts(first.run_id, "images")) == 2  # full size and preview
    assert curve(client, client.get_run(first.run_id), "eval/strict") == [(1, 0.4), (2, 0.5)]
    told = children(client, client.get_run(first.run_id))["round 1 / evaluation"]
    assert told.data.tags["advantageflow.missing"] == "false"


def test_a_run_that_was_killed_is_ended_by_sync_and_nothing_comes_twice(
    store: str, journal: Path, tmp_path: Path
) -> None:
    settings, warnings = choose_settings(preset="tiny"), list[str]()
    workdir = create_workdir(tmp_path / "run", settings)
    for file in journal.iterdir():
        lines = file.read_bytes().splitlines(keepends=True)
        killed = file.name.startswith("rollout-r001-s01")
        (workdir.journal / file.name).write_bytes(b"".join(lines[: -1 if killed else None]))
    client, seen = MlflowClient(store), []
    for _ in range(2):
        assert sync_run(workdir, settings, store, warnings.append)
        parent = client.get_run(read_json(workdir.root / "mlflow.json")["run_id"])
        seen.append(everything(client, parent))
    assert seen[0] == seen[1]
    assert warnings == []
    assert parent.info.status == "FAILED"
    status = {run.info.run_name: run.info.status for run in task_runs(client, parent)}
    assert (status["round 1 / rollout 0"], status["round 1 / rollout 1"]) == ("FINISHED", "KILLED")
    assert "RUNNING" not in status.values()


def test_eight_runs_that_write_to_one_sqlite_file_lose_no_record(store: str, journal: Path) -> None:
    events = [event for event in read_events(journal) if event["event"] not in ("image", "dataset", "artifact")]

    def run(_: int) -> str:
        publisher = Publisher(store, "advantageflow", "shapes-1", SETTINGS, {})
        publisher.consume(events)
        publisher.close()
        return publisher.run_id

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(run, range(8)))
    client = MlflowClient(store)
    first, *others = [everything(client, client.get_run(one)) for one in runs]
    assert all(one == first for one in others)
    assert len(first) > 20


def test_a_store_that_fails_in_mid_run_is_told_at_close_and_stops_nothing(
    store: str, journal: Path, tmp_path: Path
) -> None:
    publisher = Publisher(store, "advantageflow", "run", {}, {})
    (tmp_path / "mlflow.db").write_bytes(b"no longer a database")
    stop = threading.Event()
    stop.set()
    publisher.consume(tail(journal, stop))
    with pytest.raises(TrackingError, match=r"MLflow did not take 3 record\(s\)[\s\S]*results are complete"):
        publisher.close()


def test_a_picture_that_is_gone_is_told_and_the_rest_is_published(store: str, journal: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.png").unlink()
    publisher = publish(store, journal)
    with pytest.raises(TrackingError, match=r"1 record\(s\).*picture\.png"):
        publisher.close()
    client = MlflowClient(store)
    assert curve(client, client.get_run(publisher.run_id), "eval/strict") == [(1, 0.4), (2, 0.5)]


def test_a_store_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is text, not sqlite")
    with pytest.raises(TrackingError, match=r"mlflow\.db: MLflow failed"):
        Publisher(sqlite_uri(tmp_path / "mlflow.db"), "advantageflow", "run", {}, {})


@pytest.mark.slow
def test_processes_that_create_the_store_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    code = "import sys; from advantageflow.tracking.mlflow_store import open_client; open_client(sys.argv[1])"
    command = [sys.executable, "-c", code, sqlite_uri(tmp_path / "new" / "mlflow.db")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[1] for process in processes] == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]
