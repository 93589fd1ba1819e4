"""The parameters of the online pipeline: settings as defaults, and the run form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from online_ir import SETTINGS, compiled

from advantageflow.evaluation.component import evaluation
from advantageflow.parameters import locate
from advantageflow.prompts.component import prompts
from advantageflow.rollout.component import rollout
from advantageflow.settings import EvaluationSettings, RolloutSettings, RunSettings
from advantageflow.training.component import training
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.online.definition import ONLINE, PARAMETERS
from advantageflow_pipelines.pipelines.parameters import Parameter, run_form
from advantageflow_pipelines.presets import list_presets


def test_settings_travel_as_pipeline_parameters_with_the_run_s_values_as_defaults(spec: dict[str, Any]) -> None:
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["seed"]["defaultValue"] == 7
    assert RolloutSettings.model_validate_json(parameters["rollout_settings"]["defaultValue"]) == SETTINGS.rollout
    default = parameters["evaluation_settings"]["defaultValue"]
    assert EvaluationSettings.model_validate_json(default) == SETTINGS.evaluation


def parameters_of(spec: dict[str, Any], component: str) -> set[str]:
    """Those that the tasks of a component are given from outside, by the names that they have there."""
    dags = [spec["root"], *(one for one in spec["components"].values() if "dag" in one)]
    tasks = [task for dag in dags for task in dag["dag"]["tasks"].values() if task["componentRef"]["name"] == component]
    return {
        str(value["componentInputParameter"]).removeprefix("pipelinechannel--")
        for task in tasks
        for value in task["inputs"].get("parameters", {}).values()
        if "componentInputParameter" in value
    }


def test_the_run_form_shows_what_changes_from_run_to_run_with_type_description_and_the_run_s_value(
    spec: dict[str, Any],
) -> None:
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    typed = {name: (one["parameterType"], one["defaultValue"]) for name, one in parameters.items()
             if not name.endswith("_settings")}  # fmt: skip
    assert typed == {
        "prompts_source": ("STRING", SETTINGS.prompts.source),
        "prompts_per_round": ("NUMBER_INTEGER", SETTINGS.rollout.prompts_per_round),
        "group_size": ("NUMBER_INTEGER", SETTINGS.rollout.group_size),
        "rollout_guidance_scale": ("NUMBER_DOUBLE", SETTINGS.rollout.guidance_scale),
        "learning_rate": ("NUMBER_DOUBLE", SETTINGS.training.learning_rate),
        "lam": ("STRING", str(SETTINGS.training.objective.lam)),
        "evaluation_images": ("NUMBER_INTEGER", 120),
        "round_images": ("NUMBER_INTEGER", 60),
        "evaluation_guidance_scale": ("NUMBER_DOUBLE", SETTINGS.evaluation.guidance_scale),
        "seed": ("NUMBER_INTEGER", 7),
        "init_policy": ("STRING", ""),
    }
    assert all(one["description"] for one in parameters.values())


def test_a_parameter_goes_to_the_stages_that_read_it_alone_so_that_the_cache_keeps_the_others(
    spec: dict[str, Any],
) -> None:
    shown = {one.name for one in PARAMETERS}
    read = {stage: parameters_of(spec, f"comp-{stage}") & shown for stage in ONLINE.stage_names}
    assert read == {
        "prompts": {"prompts_source"},
        "rollout": {"prompts_per_round", "group_size", "rollout_guidance_scale"},
        "reward": set(),
        "training": {"learning_rate", "lam"},
        "evaluation": {"evaluation_images", "evaluation_guidance_scale"},
    }
    assert "round_images" in parameters_of(spec, "comp-evaluation-2")


def test_a_parameter_without_effect_or_setting_is_not_shown(tmp_path: Path) -> None:
    one_round = compiled(tmp_path, SETTINGS.model_copy(update={"rounds": 1}))
    assert "round_images" not in one_round["root"]["inputDefinitions"]["parameters"]
    table = (Parameter("strength", "training", "strength"), Parameter("rank", "training", "rank"))
    shown, *_ = run_form(SETTINGS, table, ()).shown
    assert (shown.name, shown.kind, shown.default) == ("rank", int, SETTINGS.training.lora.rank)
    assert shown.description.startswith("training.lora.rank")


def test_a_stage_takes_every_parameter_that_it_is_given() -> None:
    """By the name of the setting, which `with_parameters` finds there again."""
    components = {"prompts": prompts, "rollout": rollout, "training": training, "evaluation": evaluation}
    for one in PARAMETERS:
        section = getattr(SETTINGS, one.section)
        assert locate(section, one.setting), one
        if one.stage:
            assert one.setting in components[one.stage].component_spec.inputs, one


def test_settings_that_are_the_defaults_are_left_out_whether_said_or_not(tmp_path: Path) -> None:
    said = RolloutSettings(**RolloutSettings().model_dump())
    found = compiled(tmp_path, RunSettings(rollout=said))["root"]["inputDefinitions"]["parameters"]
    left = {name: one["defaultValue"] for name, one in found.items() if name.endswith("_settings")}
    assert json.loads(left.pop("training_settings")).keys() <= {"decay_rounds"}  # which the rounds say
    assert set(left.values()) == {"{}"}


@pytest.mark.parametrize("preset", list_presets())
def test_every_preset_s_settings_are_read_back_as_they_were(preset: str) -> None:
    run = choose_settings(preset=preset)
    training = run.training.of_a_run(run.rounds)
    for settings in (run.prompts, run.model, run.rollout, run.reward, training, run.evaluation, run.store):
        assert type(settings).model_validate_json(settings.model_dump_json(exclude_defaults=True)) == settings
