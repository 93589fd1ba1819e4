"""What tasks on a cluster do for the registry: the last one registers, the first of a retraining looks for a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kfp_stub.server import KfpStub
from mlflow import MlflowClient
from registered import DECISION, registration
from tracked import open_run, parent_of

from advantageflow.prompts import changes
from advantageflow.settings import EvaluationSettings, PromptSettings, RewardSettings, RunSettings
from advantageflow.tracking.journal import Journal, stage_journal
from advantageflow.tracking.promotion import conclude_on_cluster
from advantageflow.tracking.registration import Judged

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, pipeline: str, tmp_path: Path) -> str:
    """A registered model of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ADVANTAGEFLOW_REGISTERED_MODEL", pipeline)
    monkeypatch.setenv("ADVANTAGEFLOW_IMAGES", "registry.example/all@sha256:00")
    return pipeline


def tell(journal: Journal, made: Judged, **more: object) -> None:
    sampling = EvaluationSettings().model_dump(mode="json")
    journal.policy(made.path, (made.before, made.after), made.prompts, sampling, 7, **more)  # type: ignore[arg-type]


def test_the_task_that_ends_a_run_registers_its_policy_and_no_other_does(
    client: MlflowClient, model: str, tmp_path: Path
) -> None:
    open_run("round 2 / evaluation")
    for round_index in (1, 2):
        with stage_journal("evaluation", round_index) as journal:
            tell(journal, registration(tmp_path / str(round_index), f"{round_index}" * 64))
    [version] = client.search_model_versions(f"name = '{model}'")
    assert version.tags["policy_sha256"] == "2" * 64
    assert version.tags["images"] == "registry.example/all@sha256:00"
    assert version.run_id == parent_of(client, model).info.run_id


def look(folder: Path, model: str, **more: bool) -> dict[str, str]:
    """What the first task of a retraining gives."""
    settings = RunSettings(preset="tiny").model_dump(mode="json")
    outputs = {name: folder / name for name in ("parent_out", "changed_out", "inputs_out")}
    changes.run(PromptSettings(), RewardSettings(), json.dumps(settings), model, **more, **outputs)
    return {name: path.read_text() for name, path in outputs.items()}


def test_a_retraining_starts_from_the_champion_and_stops_where_nothing_has_changed(
    client: MlflowClient, model: str, tmp_path: Path
) -> None:
    first = look(tmp_path / "first", model)
    assert (first["parent_out"], first["changed_out"]) == ("", "true")
    open_run("promotion")
    journal = Journal("promotion", tmp_path / "journal" / "promotion.jsonl")
    (tmp_path / "journal").mkdir()
    tell(journal, registration(tmp_path, "1" * 64), decision=DECISION, inputs_sha256=first["inputs_out"])
    conclude_on_cluster(journal)
    conclude_on_cluster(journal)  # the task is tried again
    assert client.get_model_version_by_alias(model, "champion").version == "1"
    assert client.get_model_version(model, "1").tags["promotion"] == "promoted"
    again = look(tmp_path / "again", model)
    assert again == {"parent_out": f"models:/{model}/1", "changed_out": "false", "inputs_out": first["inputs_out"]}


def test_a_retraining_in_segments_leaves_the_field_to_an_earlier_run_of_its_schedule(
    kubeflow: KfpStub, pipeline: str, model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("earlier", pipeline)):
        kubeflow.state.runs[name] = {
            "run_id": name, "display_name": name, "experiment_id": "e", "recurring_run_id": "weekly",
            "created_at": f"2026-11-28T0{number}:00:00Z", "state": "RUNNING",
        }  # fmt: skip
    kubeflow.state.story = [{"state": "RUNNING"}]
    assert look(tmp_path, model, in_segments=True)["changed_out"] == "false"
    assert "nothing to do: 'earlier' (run earlier) of the same schedule is still going on" in caplog.text
    kubeflow.state.runs["earlier"]["state"] = "SUCCEEDED"
    assert look(tmp_path, model, in_segments=True)["changed_out"] == "true"
