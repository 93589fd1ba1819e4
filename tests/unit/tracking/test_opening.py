"""The settings with which a run is opened in MLflow are those that its stages get."""

from __future__ import annotations

from advantageflow.settings import RolloutSettings, TrainingSettings
from advantageflow.tracking.opening import sections_of_a_run


def test_what_the_form_gives_holds_and_defaults_that_were_left_out_are_said() -> None:
    texts = {"rollout": '{"group_size": 4}', "training": '{"learning_rate": 0.5}'}
    parameters = {"rollout": {"group_size": 6.0, "guidance_scale": None}, "training": {"lam": "auto"}}
    found = sections_of_a_run(texts, parameters)
    assert found["rollout"] == RolloutSettings(group_size=6).model_dump(mode="json")
    training = TrainingSettings.model_validate({"learning_rate": 0.5, "objective": {"lam": "auto"}})
    assert found["training"] == training.model_dump(mode="json")


def test_settings_that_a_stage_will_refuse_are_told_as_they_are() -> None:
    texts = {"rollout": '{"group_size": 1}'}
    assert sections_of_a_run(texts, {}) == {"rollout": {"group_size": 1}}
    refused = {"rollout": {"group_size": 1}}
    assert sections_of_a_run({"rollout": "{}"}, refused) == {"rollout": {}}
