"""The settings with which a run is opened in MLflow are those that its stages get."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.settings import RolloutSettings, TrainingSettings
from advantageflow.tracking.lifecycle import open_pipeline_run, settings_of_a_run
from advantageflow.tracking.pipeline_run import idle_seconds


def test_what_the_form_gives_holds_and_defaults_that_were_left_out_are_said() -> None:
    given = {
        "rollout": '{"group_size": 4}', "training": '{"learning_rate": 0.5}', "seed": 7,
        "rollout.group_size": 6.0, "training.objective.lam": "auto",
    }  # fmt: skip
    found = settings_of_a_run(given)
    training = TrainingSettings.model_validate({"learning_rate": 0.5, "objective": {"lam": "auto"}})
    assert found == {
        "rollout": RolloutSettings(group_size=6).model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": 7,
    }


def test_settings_that_a_stage_will_refuse_are_told_as_they_are() -> None:
    assert settings_of_a_run({"rollout": '{"group_size": 1}'}) == {"rollout": {"group_size": 1}}
    assert settings_of_a_run({"rollout": "{}", "rollout.group_size": 1}) == {"rollout": {}}


def test_a_run_without_mlflow_has_a_page_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    open_pipeline_run({"seed": 7}, "round 1 / evaluation", page=tmp_path / "page" / "page.md")
    assert "no page in MLflow" in (tmp_path / "page" / "page.md").read_text()


def test_seconds_without_a_task_are_counted_once_where_tasks_overlap() -> None:
    assert idle_seconds(1000, [(3000, 9000), (4000, 5000), (11_000, 12_000)]) == 2 + 2
