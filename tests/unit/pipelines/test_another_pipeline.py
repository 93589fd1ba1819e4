"""A second pipeline, from a module outside the package: found, compiled, placed, planned and run by its name alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import commands
import judging_pipeline
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from advantageflow.errors import SettingsError
from advantageflow.settings import ModelSettings, RunSettings, TrainingSettings
from advantageflow.tracking.events import read_events
from advantageflow_pipelines.pipelines import built_in_pipelines, find_pipeline, pipeline_of
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.placing.images import default_images
from advantageflow_pipelines.plan.estimate import make_plan

JUDGING = "judging_pipeline:JUDGING"
SETTINGS = RunSettings(pipeline=JUDGING, preset="tiny")
MODULE = Path(judging_pipeline.__file__)

Command = Callable[..., tuple[int, str, str]]


def test_a_pipeline_is_found_by_its_name_or_by_its_path() -> None:
    assert [find_pipeline(name) for name in ("online", "resident", "retraining")] == built_in_pipelines()
    assert pipeline_of(RunSettings()) == find_pipeline("online")
    assert find_pipeline(JUDGING) is judging_pipeline.JUDGING
    assert find_pipeline("online").name == "online"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("onlin", "did you mean 'online'?"),
        ("judging_pipeline:JUDGIN", "there is no 'JUDGIN' in judging_pipeline"),
        ("judging_pipeline:PARAMETERS", "is a tuple, not a pipeline"),
        ("not_there:PIPELINE", "there is no module 'not_there'"),
    ],
)
def test_a_pipeline_that_is_not_there_is_refused(name: str, words: str, advantageflow: Command) -> None:
    with pytest.raises(SettingsError) as refused:
        find_pipeline(name)
    assert words in str(refused.value)
    status, _, err = advantageflow("plan", "--pipeline", name)
    assert status == 2
    assert words in err


def test_its_stages_and_parameters_are_compiled_and_no_others(advantageflow: Command, tmp_path: Path) -> None:
    status, out, err = advantageflow("compile", "--pipeline", JUDGING, "--preset", "tiny", "--image", "stage:1")
    assert (status, err) == (0, "")
    assert "pipeline judging, judging the base model, 2 tasks" in out
    pipeline, platform = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    executors = {f"exec-{task}" for task in ("opening", "prompts", "evaluation", "closing")}
    assert set(pipeline["deploymentSpec"]["executors"]) == executors
    tasks = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert tasks["prompts"]["dependentTasks"] == ["opening"]
    opening = tasks["opening"]["inputs"]["parameters"]
    assert opening["last_task"]["runtimeValue"]["constant"] == "round 0 / evaluation"
    assert set(opening["places"]["runtimeValue"]["constant"]) == set(opening) - {"places", "last_task"}
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    assert (parameters["images"]["parameterType"], parameters["images"]["defaultValue"]) == ("NUMBER_INTEGER", 12)
    assert "learning_rate" not in parameters


def test_resources_are_for_its_stages(tmp_path: Path) -> None:
    images = default_images(judging_pipeline.JUDGING)
    assert set(images) == {"prompts", "evaluation"}
    on_gpu = SETTINGS.model_copy(update={"model": ModelSettings(device="cuda")})
    run = cluster_run(on_gpu, images, None)
    assert {stage: given.gpus for stage, given in run.resources.stages.items()} == {"prompts": 1, "evaluation": 1}
    assert run.settings == on_gpu, "nothing trains"
    (tmp_path / "mine.yaml").write_text("training: {cpu: 2}")
    with pytest.raises(SettingsError, match="there is no such setting"):
        cluster_run(SETTINGS, images, str(tmp_path / "mine.yaml"))


def test_a_plan_is_of_its_stages() -> None:
    model = ModelSettings(name="shapes")
    plan = make_plan(SETTINGS.model_copy(update={"model": model, "training": TrainingSettings()}), None)
    works = {one.stage: one.work for one in plan.stages}
    assert list(works) == ["prompts", "evaluation"]
    assert works["evaluation"].images == SETTINGS.evaluation.images
    assert works["prompts"].texts > 0
    for made_in_rounds in ("policies and optimiser states (float32)", "rollout images (PNG)"):
        assert plan.storage[made_in_rounds].kept == 0


def test_what_a_registered_pipeline_says_of_itself_agrees() -> None:
    for pipeline in (*built_in_pipelines(), replace(judging_pipeline.JUDGING)):
        settings, stages = RunSettings(rounds=2), set(pipeline.stage_names)
        assert set(pipeline.tasks(settings)) == stages
        assert {output.stage for output in (pipeline.prompts, pipeline.report, *pipeline.policies)} <= stages
        assert pipeline.evaluations(settings)[0].round_index == 0


@pytest.mark.slow
def test_it_runs_here_shows_its_result_and_is_continued_from_what_is_complete(tmp_path: Path) -> None:
    (tmp_path / MODULE.name).write_text(MODULE.read_text())
    advantageflow = partial(commands.advantageflow, cwd=tmp_path, longest=600)
    done = advantageflow("run", "--pipeline", JUDGING, "--preset", "tiny", "--workdir", "run")
    assert done.status == 0, done.output
    for words in ("judging the base model", "base: strict accuracy", "mean of tasks"):
        assert words in done.output
    summary_file = tmp_path / "run" / "summary.json"
    summary = json.loads(summary_file.read_text())
    assert (summary["pipeline"], summary["rounds"], summary["base"]["images"]) == (JUDGING, [], 12)
    assert (tmp_path / "run" / "report" / "report.html").exists()

    summary_file.unlink()
    again = advantageflow("run", "--resume", "run")
    assert again.status == 0, again.output
    assert "continuing after 2 complete tasks" in again.output
    assert json.loads(summary_file.read_text())["base"] == summary["base"]
    assert len(list((tmp_path / "run" / "journal").iterdir())) == 2, "nothing was done again"


PROGRAM = """
import subprocess
import sys
from kfp import local
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.building import build_pipeline
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="artifacts", raise_on_error=True)
build_pipeline(choose_settings(preset="tiny", pipeline=sys.argv[1]))(images=6, guidance_scale=2.0)
"""


@pytest.mark.slow
def test_what_is_given_in_the_run_form_holds_in_the_stages_instead_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / MODULE.name).write_text(MODULE.read_text())
    environment = {**commands.ENVIRONMENT, "ADVANTAGEFLOW_JOURNAL": str(tmp_path / "journal")}
    command = [sys.executable, "-c", PROGRAM, JUDGING]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    [metrics] = [json.loads(path.read_text()) for path in tmp_path.glob("artifacts/*/evaluation/report/metrics.json")]
    assert metrics["images"] == 6
    starts = [event for event in read_events(tmp_path / "journal") if event["event"] == "start"]
    told = {event["stage"]: event["settings"] for event in starts}
    assert told["evaluation"]["settings"]["guidance_scale"] == 2.0
    assert told["evaluation"]["settings"]["steps"] == 2, "what the JSON says holds for the rest"
    [output] = tmp_path.glob("artifacts/*/evaluation/executor_output.json")
    [compared] = json.loads(output.read_text())["artifacts"]["metrics"]["artifacts"]
    assert compared["metadata"]["strict"] == metrics["strict"]
    assert {name.removeprefix("strict ") for name in compared["metadata"]} >= set(metrics["tasks"])
