"""The online pipeline as Kubeflow IR: valid, wired as designed, guarded by a golden file."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from advantageflow import __version__
from advantageflow.evaluation.component import evaluation
from advantageflow.parameters import locate
from advantageflow.prompts.component import prompts
from advantageflow.rollout.component import rollout
from advantageflow.scoring.component import reward
from advantageflow.settings import EvaluationSettings, ModelSettings, PromptSettings, RolloutSettings, RunSettings
from advantageflow.training.component import training
from advantageflow_pipelines.client.stages import pipeline_tasks
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.building import compile_pipeline
from advantageflow_pipelines.pipelines.definition import Evaluation
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.pipelines.online.parameters import PARAMETERS
from advantageflow_pipelines.pipelines.online.schedule import evaluations
from advantageflow_pipelines.pipelines.parameters import Parameter, run_form
from advantageflow_pipelines.placing.resources.files import load_resources
from advantageflow_pipelines.placing.resources.fit import fit
from advantageflow_pipelines.presets import list_presets

GOLDEN = Path(__file__).parents[3] / "golden" / "online-2-rounds-2-shards.yaml"
SETTINGS = RunSettings(
    preset="golden",
    seed=7,
    rounds=2,
    rollout=RolloutSettings(shards=2),
    evaluation=EvaluationSettings(every=1, images=120, round_images=60),
)


def compiled(tmp_path: Path, settings: RunSettings = SETTINGS, **options: Any) -> dict[str, Any]:
    path = tmp_path / "pipeline.yaml"
    compile_pipeline(settings, path, **options)
    return dict(next(yaml.load_all(path.read_text(), yaml.CSafeLoader)))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compiled(tmp_path_factory.mktemp("ir"), images=dict.fromkeys(ONLINE.stage_names, "registry.example/stage:1"))


def tasks(spec: dict[str, Any], component: str | None = None) -> dict[str, Any]:
    dag = spec["root"] if component is None else spec["components"][component]
    return dict(dag["dag"]["tasks"])


def producer(task: dict[str, Any], artifact: str) -> str:
    """The task that makes an input artifact, or 'input' for the enclosing pipeline's own."""
    source = task["inputs"]["artifacts"][artifact]
    return str(source.get("taskOutputArtifact", {}).get("producerTask", "input"))


def constants(task: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a task that are fixed in the pipeline."""
    parameters = task["inputs"]["parameters"].items()
    return {name: value["runtimeValue"]["constant"] for name, value in parameters if "runtimeValue" in value}


def test_ir_equals_the_golden_file(tmp_path: Path, update_golden: bool) -> None:
    """What changes without the pipeline changing is left out: Kubeflow's version, default settings, the package's."""
    spec = compiled(tmp_path, images=dict.fromkeys(ONLINE.stage_names, "stage:1"))
    spec["sdkVersion"] = "kfp"
    for name, parameter in spec["root"]["inputDefinitions"]["parameters"].items():
        if name != "seed":
            parameter["defaultValue"] = "settings"
    text = yaml.safe_dump(spec, sort_keys=True, width=200).replace(f"=={__version__}", "==version")
    spec = yaml.safe_load(text)
    if update_golden:
        GOLDEN.write_text(text)
    assert yaml.safe_load(GOLDEN.read_text()) == spec, "the pipeline changed: if that is meant, run `make golden`"


def test_ir_is_what_kubeflow_s_protobuf_describes_without_unknown_fields(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    compile_pipeline(SETTINGS, path)
    pipeline, *platforms = yaml.load_all(path.read_text(), yaml.CSafeLoader)
    parsed = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    assert parsed.pipeline_info.name == "advantageflow-online"
    for platform in platforms:
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())


def test_rounds_form_a_chain_from_the_prepared_policy(spec: dict[str, Any]) -> None:
    root = tasks(spec)
    for part in ("policy", "rollout_policy"):
        assert producer(root["round-01"], part) == "prompts"
        assert producer(root["round-02"], part) == "round-01"
    assert constants(root["round-01"])["round_index"] == 1
    assert constants(root["round-02"])["round_index"] == 2


def test_base_every_round_and_final_are_evaluated_on_their_own_policies(spec: dict[str, Any]) -> None:
    root = tasks(spec)
    judged = {name: producer(task, "policy") for name, task in root.items() if name.startswith("evaluation")}
    assert judged == {"evaluation": "prompts", "evaluation-2": "round-01", "evaluation-3": "round-02"}
    assert [constants(root[name]) for name in judged] == [{"round_index": number} for number in (0, 1, 2)]
    images = {name: root[name]["inputs"]["parameters"]["images"]["componentInputParameter"] for name in judged}
    assert images == {
        "evaluation": "evaluation_images", "evaluation-2": "round_images", "evaluation-3": "evaluation_images",
    }  # fmt: skip


def test_every_evaluation_but_the_base_s_is_given_the_base_s_report(spec: dict[str, Any]) -> None:
    root = tasks(spec)
    assert "base" not in root["evaluation"]["inputs"]["artifacts"]
    for name in ("evaluation-2", "evaluation-3"):
        assert root[name]["inputs"]["artifacts"]["base"]["taskOutputArtifact"] == {
            "outputArtifactKey": "report", "producerTask": "evaluation",
        }  # fmt: skip


def test_a_round_trains_on_the_rollouts_and_scores_of_all_its_shards(spec: dict[str, Any]) -> None:
    for component in ("comp-round-01", "comp-round-02"):
        inner = tasks(spec, component)
        (loop,) = (name for name in inner if name.startswith("for-loop"))
        assert inner[loop]["parameterIterator"]["items"]["raw"] == "[0, 1]"
        assert producer(inner["training"], "latents") == loop
        assert producer(inner["training"], "scores") == loop
        assert producer(inner["training"], "policy") == "input"
        body = tasks(spec, inner[loop]["componentRef"]["name"])
        assert set(body) == {"rollout", "reward"}
        assert producer(body["reward"], "rollouts") == "rollout"


def test_a_task_is_given_what_it_reads_and_no_more(spec: dict[str, Any]) -> None:
    """Kubeflow copies an artifact whole into every task that takes it."""
    taken = {stage: set(spec["components"][f"comp-{stage}"]["inputDefinitions"].get("artifacts", {}))
             for stage in ONLINE.stage_names}  # fmt: skip
    assert taken == {
        "prompts": set(),
        "rollout": {"prompts", "conditioning", "rollout_policy"},
        "reward": {"prompts", "rollouts"},
        "training": {"prompts", "conditioning", "policy", "latents", "scores"},
        "evaluation": {"prompts", "conditioning", "policy", "base"},
    }
    root = tasks(spec)
    judged = [root[name]["inputs"]["artifacts"]["policy"] for name in root if name.startswith("evaluation")]
    assert [one["taskOutputArtifact"]["outputArtifactKey"] for one in judged] == ["adapter", "adapter", "policy"]


def test_no_two_tasks_share_a_component_as_the_local_runner_names_output_folders_by_component(
    spec: dict[str, Any],
) -> None:
    used = [task["componentRef"]["name"] for task in tasks(spec).values()]
    for component in list(spec["components"].values()):
        used += [task["componentRef"]["name"] for task in component.get("dag", {}).get("tasks", {}).values()]
    assert len(used) == len(set(used))


def test_every_stage_runs_in_the_given_image_and_installs_nothing(spec: dict[str, Any]) -> None:
    containers = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    assert {container["image"] for container in containers} == {"registry.example/stage:1"}
    assert not [container for container in containers if "pip install" in str(container)]


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


def test_components_are_documented_and_their_tasks_carry_none_of_it(spec: dict[str, Any]) -> None:
    for component in (prompts, rollout, reward, training, evaluation):
        documented = inspect.getdoc(component.python_func)
        assert documented is not None
        for name in inspect.signature(component.python_func).parameters:
            assert f"    {name}: " in documented, f"{component.name}: {name}"
    tasks_only = {name: part for name, part in spec["components"].items() if "executorLabel" in part}
    assert "description" not in str(tasks_only)
    assert "Args:" not in str(spec["deploymentSpec"])


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


def test_on_one_machine_a_round_waits_for_the_evaluation_before_it(tmp_path: Path, spec: dict[str, Any]) -> None:
    ordered = tasks(compiled(tmp_path, in_order=True))
    assert "evaluation" in ordered["round-01"]["dependentTasks"]
    assert "evaluation-2" in ordered["round-02"]["dependentTasks"]
    assert not any("evaluation" in name for name in tasks(spec)["round-02"]["dependentTasks"])


def test_evaluations_between_rounds_are_every_k_and_never_the_final_one_twice() -> None:
    settings = RunSettings(rounds=6, evaluation=EvaluationSettings(every=3, images=100, round_images=10))
    assert evaluations(settings) == [Evaluation(0, 100), Evaluation(3, 10), Evaluation(6, 100)]
    seldom = RunSettings(rounds=2, evaluation=EvaluationSettings(every=5, images=100, round_images=10))
    assert evaluations(seldom) == [Evaluation(0, 100), Evaluation(2, 100)]


def test_what_lies_at_an_address_is_read_anew_by_every_run(tmp_path: Path) -> None:
    def cached(**changes: Any) -> bool:
        options = tasks(compiled(tmp_path, SETTINGS.model_copy(update=changes)))["prompts"]["cachingOptions"]
        return bool(options.get("enableCache"))

    def told(**changes: Any) -> Any:
        resources = load_resources("cpu", ONLINE)
        spec = compiled(tmp_path, SETTINGS.model_copy(update=changes), resources=fit(SETTINGS, resources)[1])
        [one] = [task for name, task in pipeline_tasks(spec).items() if name == "prompts"]
        assert one["cachingOptions"]["enableCache"]
        return one["inputs"]["parameters"].get("made_for", {}).get("runtimeValue", {}).get("constant")

    assert told() is None
    assert told(init_policy="s3://bucket/policies/mine") == "{{$.pipeline_job_uuid}}", "the cache keeps runs apart"
    assert cached()
    assert not cached(init_policy="s3://bucket/policies/mine")
    assert not cached(prompts=PromptSettings(source="s3://bucket/prompts.jsonl"))
    assert not cached(model=ModelSettings(name="s3://bucket/model"))
