"""The retraining pipeline as Kubeflow gets it, and what it makes of settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from advantageflow.settings import RunSettings
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import divide
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.plan.estimate import make_plan

IMAGES = dict.fromkeys(("prompts", "rollout", "reward", "training", "evaluation"), "registry.example/all:1")


@pytest.fixture(scope="module")
def settings() -> RunSettings:
    return choose_settings(preset="tiny", pipeline="retraining", assignments=["promotion.seeds=3"])


@pytest.fixture(scope="module")
def spec(settings: RunSettings) -> dict[str, Any]:
    text = cluster_run(settings, IMAGES, None).package().as_yaml()
    pipeline, platform = yaml.safe_load_all(text)
    json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    return dict(pipeline)


def tasks_of(spec: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    return dict(spec["components"][task["componentRef"]["name"]]["dag"]["tasks"])


def test_all_work_waits_for_a_look_at_what_has_changed_and_the_gate_comes_last(spec: dict[str, Any]) -> None:
    within = tasks_of(spec, spec["root"]["dag"]["tasks"]["exit-handler-1"])
    assert set(within) == {"opening", "changes", "condition-2"}
    condition = within["condition-2"]["triggerPolicy"]["condition"]
    assert condition.endswith("changes-changed'] == 'true'")
    work = tasks_of(spec, within["condition-2"])
    assert set(work) == {"prompts", "evaluation", "evaluation-2", "evaluation-3", "round-01", "round-02", "promotion"}
    start = work["prompts"]["inputs"]["parameters"]["init_policy"]["componentInputParameter"]
    assert start == "pipelinechannel--changes-parent"
    inputs = work["promotion"]["inputs"]
    made_by = {name: one["taskOutputArtifact"]["producerTask"] for name, one in inputs["artifacts"].items()}
    assert made_by == {
        "prompts": "prompts", "conditioning": "prompts", "champion": "prompts", "candidate": "round-02",
        "before": "evaluation", "after": "evaluation-3",
    }  # fmt: skip
    assert inputs["parameters"]["promotion_settings"]["runtimeValue"]["constant"] == '{"seeds":3}'
    for task in (within["changes"], work["promotion"]):
        assert "enableCache" not in task.get("cachingOptions", {}), "what it asks and does lies outside the pipeline"


def test_a_long_one_looks_in_its_first_segment_and_decides_in_its_last_on_the_policy_that_it_began_with(
    settings: RunSettings,
) -> None:
    run = replace(cluster_run(settings, IMAGES, None), segments=divide(settings.rounds, 1))
    first, last = (package.with_root(root).pipeline for package in [run.package()] for root in package.roots)
    within, rest = (tasks_of(one, one["root"]["dag"]["tasks"]["exit-handler-1"]) for one in (first, last))
    assert set(within) == {"opening", "changes", "condition-2"}
    looked = within["changes"]
    assert looked["inputs"]["parameters"]["in_segments"] == {"runtimeValue": {"constant": True}}
    _, kubernetes = run.package().executor(first["components"][looked["componentRef"]["name"]])
    assert kubernetes["podMetadata"]["labels"]["access-ml-pipeline"] == "true"
    work = tasks_of(first, within["condition-2"])
    assert set(work) == {"prompts", "evaluation", "evaluation-2", "round-01", "continuing"}
    inputs = work["continuing"]["inputs"]
    start, sha256 = inputs["artifacts"]["start"]["taskOutputArtifact"], inputs["parameters"]["inputs_sha256"]
    assert start == {"outputArtifactKey": "adapter", "producerTask": "prompts"}
    assert sha256 == {"componentInputParameter": "pipelinechannel--changes-inputs_sha256"}
    assert {name for name in rest if "importer" not in name} == {"opening", "evaluation", "round-02", "promotion"}
    inputs = rest["promotion"]["inputs"]
    made_by = {name: one["taskOutputArtifact"]["producerTask"] for name, one in inputs["artifacts"].items()}
    handed = {
        name: rest[made_by[name]]["inputs"]["parameters"]["uri"]["componentInputParameter"]
        for name in ("champion", "before")
    }
    assert handed == {"champion": "pipelinechannel--start_uri", "before": "pipelinechannel--base_uri"}
    assert (made_by["candidate"], made_by["after"]) == ("round-02", "evaluation")
    assert inputs["parameters"]["inputs_sha256"] == {"componentInputParameter": "pipelinechannel--inputs_sha256"}


def test_old_prompts_are_replayed_unless_a_person_says_otherwise(settings: RunSettings) -> None:
    assert (settings.prompts.replay_share, settings.prompts.replay_fills) == (0.5, settings.rollout.prompts_per_round)
    other = choose_settings(preset="tiny", pipeline="retraining", assignments=["prompts.replay_share=0"])
    assert other.prompts.replay_share == 0
    assert choose_settings(preset="tiny").prompts.replay_share is None


def test_its_plan_has_the_images_of_further_seeds(settings: RunSettings) -> None:
    online = settings.model_copy(update={"pipeline": "online"})
    assert pipeline_of(settings).describe(settings).startswith("retraining of tiny")
    images = {
        one.name: {stage.stage: stage.work.images for stage in make_plan(one_settings, None).stages}["evaluation"]
        for one_settings in (settings, online)
        for one in (pipeline_of(one_settings),)
    }
    assert images["retraining"] == images["online"] + 5 * settings.evaluation.images
