"""The online pipeline as Kubeflow IR: valid, wired as designed, guarded by a golden file."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from online_ir import SETTINGS, compile_pipeline, compiled, tasks

from advantageflow import __version__
from advantageflow.evaluation.component import evaluation
from advantageflow.prompts.component import prompts
from advantageflow.rollout.component import rollout
from advantageflow.scoring.component import reward
from advantageflow.settings import EvaluationSettings, ModelSettings, PromptSettings, RunSettings
from advantageflow.training.component import training
from advantageflow_pipelines.client.stages import pipeline_tasks
from advantageflow_pipelines.pipelines.definition import Evaluation
from advantageflow_pipelines.pipelines.online.definition import ONLINE, evaluations
from advantageflow_pipelines.placing.resources.files import load_resources
from advantageflow_pipelines.placing.resources.fit import fit

GOLDEN = Path(__file__).parents[3] / "golden" / "online-2-rounds-2-shards.yaml"


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


def test_a_shard_that_is_scored_as_it_is_made_is_one_task_in_an_image_that_can_do_both(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(
        update={"rounds": 1, "rollout": SETTINGS.rollout.model_copy(update={"scored": True})}
    )
    spec = compiled(tmp_path, settings, images={stage: f"{stage}:1" for stage in ONLINE.stage_names})
    inner = tasks(spec, "comp-round-01")
    (loop,) = (name for name in inner if name.startswith("for-loop"))
    assert set(tasks(spec, inner[loop]["componentRef"]["name"])) == {"rollout"}
    assert producer(inner["training"], "latents") == producer(inner["training"], "scores") == loop
    containers = {name: one["container"] for name, one in spec["deploymentSpec"]["executors"].items()}
    assert containers["exec-rollout"]["image"] == "evaluation:1"
    assert "advantageflow.loop.component" in " ".join(containers["exec-rollout"]["command"])
    assert "reward" not in ONLINE.tasks(settings)


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


def test_components_are_documented_and_their_tasks_carry_none_of_it(spec: dict[str, Any]) -> None:
    for component in (prompts, rollout, reward, training, evaluation):
        documented = inspect.getdoc(component.python_func)
        assert documented is not None
        for name in inspect.signature(component.python_func).parameters:
            assert f"    {name}: " in documented, f"{component.name}: {name}"
    tasks_only = {name: part for name, part in spec["components"].items() if "executorLabel" in part}
    assert "description" not in str(tasks_only)
    assert "Args:" not in str(spec["deploymentSpec"])


def test_on_one_machine_a_round_waits_for_the_evaluation_before_it(tmp_path: Path, spec: dict[str, Any]) -> None:
    ordered = tasks(spec)
    assert "evaluation" in ordered["round-01"]["dependentTasks"]
    assert "evaluation-2" in ordered["round-02"]["dependentTasks"]
    settings, resources = fit(SETTINGS, load_resources("cpu", ONLINE))
    on_cluster = tasks(compiled(tmp_path, settings, resources=resources), "comp-exit-handler-1")
    assert not any("evaluation" in name for name in on_cluster["round-02"]["dependentTasks"])


def test_evaluations_between_rounds_are_every_k_and_never_the_final_one_twice() -> None:
    settings = RunSettings(rounds=6, evaluation=EvaluationSettings(every=3, images=100, round_images=10))
    assert evaluations(settings) == [Evaluation(0, 100), Evaluation(3, 10), Evaluation(6, 100)]
    seldom = RunSettings(rounds=2, evaluation=EvaluationSettings(every=5, images=100, round_images=10))
    assert evaluations(seldom) == [Evaluation(0, 100), Evaluation(2, 100)]


def test_what_lies_at_an_address_is_read_anew_by_every_run(tmp_path: Path) -> None:
    one_round = SETTINGS.model_copy(update={"rounds": 1})

    def cached(**changes: Any) -> bool:
        options = tasks(compiled(tmp_path, one_round.model_copy(update=changes)))["prompts"]["cachingOptions"]
        return bool(options.get("enableCache"))

    def told(**changes: Any) -> Any:
        resources = load_resources("cpu", ONLINE)
        spec = compiled(tmp_path, one_round.model_copy(update=changes), resources=fit(one_round, resources)[1])
        [one] = [task for name, task in pipeline_tasks(spec).items() if name == "prompts"]
        assert one["cachingOptions"]["enableCache"]
        return one["inputs"]["parameters"].get("made_for", {}).get("runtimeValue", {}).get("constant")

    assert told() is None
    assert told(init_policy="s3://bucket/policies/mine") == "{{$.pipeline_job_uuid}}", "the cache keeps runs apart"
    assert cached()
    assert not cached(init_policy="s3://bucket/policies/mine")
    assert not cached(prompts=PromptSettings(source="s3://bucket/prompts.jsonl"))
    assert not cached(model=ModelSettings(name="s3://bucket/model"))
