"""The TrainJob against the generated models of Kubeflow Trainer's API, with no field that they do not know."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api import models
from torch.distributed.run import config_from_args, parse_args

from advantageflow.training.trainjob.spec import train_job

RUNTIME_FILE = Path(__file__).parents[4] / "infra/base/training/runtime.yaml"
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
FROM_SECRET = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "advantageflow-hf", "key": "HF_TOKEN"}}}
FROM_POD = {"name": "ADVANTAGEFLOW_PIPELINE_RUN_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}}}
RESOURCES = {"requests": {"cpu": "8", "memory": "64Gi"}, "limits": {"memory": "64Gi", "nvidia.com/gpu": "8"}}
TASK_CONFIG = {
    "resources": RESOURCES, "node_selector": {"pool": "gpu"}, "tolerations": [TOLERATION], "affinity": None,
    "env": [{"name": "A", "value": "b"}, FROM_SECRET, FROM_POD], "volumes": None, "volume_mounts": None,
}  # fmt: skip


def job(task_config: dict[str, Any]) -> dict[str, Any]:
    url = "s3://bucket/trainjobs/k/inputs"
    return train_job("advantageflow-k", "registry.example/training", 2, 8, url, 3600, task_config)


def is_known(body: dict[str, Any]) -> bool:
    """Whether the models keep all of it; they drop what they do not know, and refuse wrong types."""
    parsed = models.TrainerV1alpha1TrainJob.from_dict(body)
    return parsed is not None and parsed.to_dict() == body


@pytest.fixture(autouse=True)
def in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"KFP_POD_NAME": "pod", "KFP_POD_UID": "uid", "ADVANTAGEFLOW_PIPELINE_RUN_ID": "run-1",
                        "ADVANTAGEFLOW_S3_ADDRESSING": "path"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("task_config", [TASK_CONFIG, {}, dict.fromkeys(TASK_CONFIG)], ids=["gpus", "none", "empty"])
def test_the_api_knows_every_field(task_config: dict[str, Any]) -> None:
    assert is_known(job(task_config))


@pytest.mark.parametrize("path", [("spec",), ("spec", "trainer"), ("metadata",), ("spec", "runtimeRef")])
def test_a_field_that_the_api_does_not_know_would_be_found(path: tuple[str, ...]) -> None:
    body = copy.deepcopy(job(TASK_CONFIG))
    part = body
    for name in path:
        part = part[name]
    part["unknown"] = "x"
    assert not is_known(body)


def test_nodes_processes_and_command_are_those_of_the_training() -> None:
    trainer = job(TASK_CONFIG)["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["command"] == ["python", "-m", "torch.distributed.run"]
    assert trainer["args"][-4:] == [
        "-m", "advantageflow.training.worker", "--arguments", "s3://bucket/trainjobs/k/inputs",
    ]  # fmt: skip


def test_torchrun_waits_a_day_for_nodes_and_as_long_as_their_pods_may_take_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "PET_NNODES": "2",
        "PET_NODE_RANK": "1",
        "PET_MASTER_ADDR": "node-0",
        "PET_MASTER_PORT": "29400",
    }.items():
        monkeypatch.setenv(name, value)
    config, _, worker = config_from_args(parse_args(job({})["spec"]["trainer"]["args"]))
    assert worker[-2:] == ["--arguments", "s3://bucket/trainjobs/k/inputs"]
    assert (config.rdzv_backend, config.min_nodes) == ("static", 2)
    assert config.rdzv_configs == {"timeout": "86400", "rank": 1}
    [node] = yaml.safe_load(RUNTIME_FILE.read_text())["spec"]["template"]["spec"]["replicatedJobs"]
    grace = node["template"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace - 20 <= config.shutdown_timeout < grace


def test_what_kubeflow_passes_through_goes_to_the_nodes() -> None:
    spec = job(TASK_CONFIG)["spec"]
    assert spec["trainer"]["resourcesPerNode"] == RESOURCES
    (patch,) = spec["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert (node["name"], pod) == ("node", {"nodeSelector": {"pool": "gpu"}, "tolerations": [TOLERATION]})


def test_the_nodes_pull_their_image_with_the_task_s_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_IMAGE_PULL_SECRETS", "registry,mirror")
    body = job({})
    (patch,) = body["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert node["template"]["spec"]["template"]["spec"] == {
        "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}]
    }
    assert is_known(body)


def test_secrets_stay_references_and_what_the_pod_was_told_of_itself_becomes_a_value() -> None:
    env = {one["name"]: one for one in job(TASK_CONFIG)["spec"]["trainer"]["env"]}
    assert env["HF_TOKEN"] == FROM_SECRET
    assert env["A"]["value"] == "b"
    assert env["ADVANTAGEFLOW_PIPELINE_RUN_ID"] == {"name": "ADVANTAGEFLOW_PIPELINE_RUN_ID", "value": "run-1"}
    assert env["ADVANTAGEFLOW_S3_ADDRESSING"]["value"] == "path"


def test_the_job_ends_by_itself_and_is_found_by_its_run() -> None:
    body = job({})
    assert body["spec"]["activeDeadlineSeconds"] == 3600
    assert body["metadata"]["labels"]["pipeline/runid"] == "run-1"
    assert body["metadata"]["ownerReferences"][0]["uid"] == "uid"
