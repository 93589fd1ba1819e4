"""Compiled pipelines, taken apart task by task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from given_resources import EVERYTHING, ON_GPU, Tasks
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from online_ir import compile_pipeline

from advantageflow.settings import RunSettings
from advantageflow_pipelines.placing.resources.fit import fit
from advantageflow_pipelines.placing.resources.stage_resources import Resources


@dataclass(frozen=True)
class CompiledTask:
    """A task as Kubeflow gets it, parsed by its protobuf, which knows no other fields."""

    container: Any
    kubernetes: Any
    spec: Any
    component: Any


@pytest.fixture(scope="session")
def compiled_tasks(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[RunSettings, Resources], dict[str, CompiledTask]]:
    """The tasks of a run by name, such as 'training-2'."""

    def compile_and_parse(settings: RunSettings, resources: Resources) -> dict[str, CompiledTask]:
        path = tmp_path_factory.mktemp("ir") / "pipeline.yaml"
        compile_pipeline(settings, path, resources=resources)
        return parse(path)

    return compile_and_parse


def parse(path: Path) -> dict[str, CompiledTask]:
    pipeline, platform = yaml.load_all(path.read_text(), yaml.CSafeLoader)
    spec = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    platforms = json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec()).platforms
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec), pipeline_spec_pb2.PipelineDeploymentConfig()
    )
    by_component = {
        task.component_ref.name: task
        for dag in [spec.root.dag, *(component.dag for component in spec.components.values())]
        for task in dag.tasks.values()
    }
    tasks = {}
    for name, component in spec.components.items():
        if component.executor_label:
            config = platforms["kubernetes"].deployment_spec.executors[component.executor_label]
            kubernetes = json_format.ParseDict(
                json_format.MessageToDict(config), kubernetes_executor_config_pb2.KubernetesExecutorConfig()
            )
            container = deployment.executors[component.executor_label].container
            tasks[name.removeprefix("comp-")] = CompiledTask(container, kubernetes, by_component[name], component)
    return tasks


@pytest.fixture(scope="session")
def everything(compiled_tasks: Callable[[RunSettings, Resources], Tasks]) -> Tasks:
    return compiled_tasks(*fit(ON_GPU, EVERYTHING))
