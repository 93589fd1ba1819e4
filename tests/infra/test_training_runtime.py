"""The TrainingRuntime is one that the TrainJob of a training over several nodes fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from advantageflow.training.trainjob.spec import API_GROUP, API_VERSION, NODE, check_resources, train_job

if TYPE_CHECKING:
    from conftest import Overlay


@pytest.fixture
def runtime(overlays: dict[str, Overlay]) -> dict[str, Any]:
    [found] = overlays["multi-node"].all("TrainingRuntime")
    return found


@pytest.fixture
def job() -> dict[str, Any]:
    """One that is to run on nodes of a certain kind."""
    task_config = {"node_selector": {"pool": "gpu"}}
    return train_job("job", "registry.example/training", 2, 8, "s3://bucket/inputs", 3600, task_config)


def nodes(runtime: dict[str, Any]) -> dict[str, Any]:
    """The runtime's replicated jobs by name."""
    return {one["name"]: one["template"] for one in runtime["spec"]["template"]["spec"]["replicatedJobs"]}


def test_the_job_names_it(runtime: dict[str, Any], job: dict[str, Any]) -> None:
    reference = job["spec"]["runtimeRef"]
    assert (reference["apiGroup"], reference["kind"]) == (API_GROUP, runtime["kind"])
    assert reference["name"] == runtime["metadata"]["name"]
    assert runtime["apiVersion"] == job["apiVersion"] == f"{API_GROUP}/{API_VERSION}"


def test_the_job_s_patches_are_of_jobs_that_it_has(runtime: dict[str, Any], job: dict[str, Any]) -> None:
    [patch] = job["spec"]["runtimePatches"]
    patched = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert [one["name"] for one in patched] == list(nodes(runtime))


@pytest.mark.parametrize("gpus", [{}, {"nvidia.com/gpu": "8"}, {"amd.com/gpu": "4"}], ids=["cpu", "nvidia", "amd"])
def test_nodes_get_what_the_training_asks_for_and_nothing_else(runtime: dict[str, Any], gpus: dict[str, str]) -> None:
    resources = {"requests": {"cpu": "48", "memory": "384Gi"}, "limits": {"memory": "384Gi", **gpus}}
    check_resources("runtime", runtime, {"resources": resources})


def test_kubeflow_trainer_finds_where_the_job_s_command_goes(runtime: dict[str, Any]) -> None:
    label = "trainer.kubeflow.org/trainjob-ancestor-step"
    assert {name: node["metadata"]["labels"][label] for name, node in nodes(runtime).items()} == {NODE: "trainer"}
    assert "torch" in runtime["spec"]["mlPolicy"]  # has Kubeflow Trainer set what torchrun is told of the other nodes


def test_logs_are_read_of_a_container_that_its_pods_have(runtime: dict[str, Any]) -> None:
    pod = nodes(runtime)[NODE]["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["containers"]] == [NODE]


def test_a_failed_node_ends_the_job_and_the_task_decides_what_follows(runtime: dict[str, Any]) -> None:
    spec = nodes(runtime)[NODE]["spec"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
