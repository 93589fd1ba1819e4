"""A run's journals published to a real MLflow sqlite store and read back."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow import MlflowClient
from mlflow_published import SETTINGS, children, curve, publish, task_runs

from advantageflow.tracking.events import read_events
from advantageflow.tracking.journal import stage_journal
from advantageflow.tracking.publisher import Publisher


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
    assert (
        parent.data.params.items() >= {"rollout.group_size": "4", "training.lora.targets": '["to_q", "to_k"]'}.items()
    )
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
    holds_pictures = children(client, parent)["pictures"]
    assert (holds_pictures.info.status, holds_pictures.data.params) == ("FINISHED", {}), "each tile would repeat params"
    pictures = [file.path for file in client.list_artifacts(holds_pictures.info.run_id, "images")]
    assert len(pictures) == 2  # full size and preview
    assert all(path.startswith("images/examples~01  a red circle+step+1+") for path in pictures)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "report", "settings.json", "summary.json",
    }  # fmt: skip
    assert "time/prompts" not in parent.data.metrics, "pages that compare runs would open on what was told first"


def test_each_stage_task_becomes_a_child_run_with_its_own_settings_metrics_and_end(store: str, journal: Path) -> None:
    publisher = publish(store, journal)
    publisher.close()
    client = MlflowClient(store)
    runs = children(client, client.get_run(publisher.run_id))
    assert set(runs) == {
        "prompts", "round 1 / rollout 0", "round 1 / rollout 1", "round 1 / evaluation", "round 2 / evaluation",
        "round 2 / training", "round 2 / loop", "pictures",
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
    assert curve(client, runs["round 2 / loop"], "loss/loss") == [(40, 3.0)], "of its steps, without the round's mean"
    assert curve(client, client.get_run(publisher.run_id), "loss/loss") == [(2, 1.0)]


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
