"""Training on several nodes in the compiled pipeline: what its task, its nodes and the last task are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from given_resources import ON_GPU, Tasks, load_resources
from kfp.pipeline_spec import pipeline_spec_pb2

from advantageflow import __version__
from advantageflow.settings import RunSettings, TrainingSettings
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.placing.images import default_images
from advantageflow_pipelines.placing.resources.fit import fit
from advantageflow_pipelines.placing.resources.stage_resources import S3_SECRET, Resources

ONE_ROUND = ON_GPU.model_copy(update={"rounds": 1})


@pytest.fixture(scope="module")
def on_nodes(compiled_tasks: Callable[[RunSettings, Resources], Tasks]) -> Tasks:
    return compiled_tasks(*fit(ON_GPU, load_resources("multi-node")))


def test_what_the_training_on_nodes_is_given_goes_to_the_nodes_and_only_its_environment_to_its_own_pod(
    on_nodes: Tasks, everything: Tasks
) -> None:
    for name in ("training", "training-2"):
        passed = on_nodes[name].component.task_config_passthroughs
        kinds = pipeline_spec_pb2.TaskConfigPassthroughType.TaskConfigPassthroughTypeEnum
        assert {kinds.Name(one.field): one.apply_to_task for one in passed} == {
            "RESOURCES": False,
            "KUBERNETES_NODE_SELECTOR": False,
            "KUBERNETES_TOLERATIONS": False,
            "ENV": True,
        }
        assert not everything[name].component.task_config_passthroughs
    assert not on_nodes["rollout"].component.task_config_passthroughs


def test_the_training_on_nodes_is_told_what_its_job_is_made_of(on_nodes: Tasks, everything: Tasks) -> None:
    def told(task: Any) -> dict[str, str]:
        given = {one.name: one.value for one in task.container.env}
        given |= {one.name: one.field_path for one in task.kubernetes.field_path_as_env}
        return {name: given[name] for name in given if name.startswith(("ADVANTAGEFLOW_TRAINING", "ADVANTAGEFLOW_NAM"))}

    assert told(on_nodes["training"]) == {
        "ADVANTAGEFLOW_TRAINING_IMAGE": on_nodes["training"].container.image,
        "ADVANTAGEFLOW_TRAINING_TIMEOUT": str(load_resources("multi-node").training.timeout_seconds),
        "ADVANTAGEFLOW_NAMESPACE": "metadata.namespace",
    }
    assert told(on_nodes["rollout"]) == told(everything["training"]) == {}


def test_the_nodes_are_told_the_secrets_of_the_registry(
    compiled_tasks: Callable[[RunSettings, Resources], Tasks],
) -> None:
    given = load_resources("multi-node")
    training = given.training.model_copy(update={"image_pull_secrets": ("registry", "mirror")})
    tasks = compiled_tasks(*fit(ONE_ROUND, replace(given, stages={**given.stages, "training": training})))
    environment = {one.name: one.value for one in tasks["training"].container.env}
    assert environment["ADVANTAGEFLOW_IMAGE_PULL_SECRETS"] == "registry,mirror"


def test_the_last_task_can_remove_what_is_left_on_nodes_where_nodes_train(on_nodes: Tasks, everything: Tasks) -> None:
    closing, other = on_nodes["closing"], everything["closing"]
    assert closing.container.image == on_nodes["training"].container.image
    assert other.container.image == everything["evaluation"].container.image
    given = {one.name: one.field_path for one in closing.kubernetes.field_path_as_env}
    assert given == {
        "ADVANTAGEFLOW_PIPELINE_RUN_ID": "metadata.labels['pipeline/runid']",
        "ADVANTAGEFLOW_NAMESPACE": "metadata.namespace",
    }
    nodes = [task.spec.inputs.parameters["nodes"].runtime_value.constant.number_value for task in (closing, other)]
    assert nodes == [2, 1]


def test_the_settings_of_the_pipeline_say_the_processes_and_nodes_of_the_resources() -> None:
    spec = cluster_run(ONE_ROUND, default_images(ONLINE), "multi-node").package().pipeline
    text = spec["root"]["inputDefinitions"]["parameters"]["training_settings"]["defaultValue"]
    training = TrainingSettings.model_validate_json(text)
    assert (training.processes, training.nodes) == (8, 2)


def test_every_task_runs_the_component_that_lies_in_its_image(everything: Tasks, on_nodes: Tasks) -> None:
    for task in (*everything.values(), *on_nodes.values()):
        [*start, module] = task.container.command
        assert start == ["python3", "-m", "advantageflow.task", "kfp.dsl.executor_main"]
        arguments = list(task.container.args)
        name = arguments[arguments.index("--function_to_execute") + 1]
        module, version = module.split("==")
        function = getattr(import_module(module), name)
        assert (getattr(function, "python_func", function).__name__, version) == (name, __version__)


def test_the_closing_task_which_loads_nothing_is_not_told_the_hub_s_secret(on_nodes: Tasks) -> None:
    assert [one.secret_name for one in on_nodes["closing"].kubernetes.secret_as_volume] == [S3_SECRET.name]
    assert not on_nodes["closing"].kubernetes.secret_as_env
