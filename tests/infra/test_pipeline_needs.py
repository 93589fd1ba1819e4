"""What compiled pipelines name on the cluster is what the manifests make: accounts, keys, labels, enough GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.placing.images import default_images
from advantageflow_pipelines.placing.resources.files import load_resources
from advantageflow_pipelines.placing.resources.stage_resources import (
    CONFIG_MAP,
    GPU,
    HF_SECRET,
    S3_SECRET,
    SERVICE_ACCOUNT,
)

if TYPE_CHECKING:
    from conftest import Overlay

PRESETS = {"kind": "cpu", "single-gpu": "single-gpu", "multi-node": "multi-node"}


@pytest.fixture(scope="session")
def tasks() -> list[dict[str, Any]]:
    """What the smallest pipeline asks of Kubernetes for each of its tasks."""
    settings = RunSettings.model_validate({"rounds": 1, "rollout": {"shards": 1}})
    platforms = cluster_run(settings, default_images(ONLINE), "cpu").package().platform
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return list(executors.values())


def test_every_task_carries_the_label_that_network_policies_know_it_by(
    overlay: Overlay, tasks: list[dict[str, Any]]
) -> None:
    labels = {task["podMetadata"]["labels"]["app.kubernetes.io/part-of"] for task in tasks}
    policy = overlay.one("NetworkPolicy", "advantageflow-tasks", "kubeflow")
    assert [policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/part-of"]] == list(labels)


def test_tasks_find_their_config_map_whole(overlay: Overlay) -> None:
    data = overlay.one("ConfigMap", CONFIG_MAP.name, "kubeflow")["data"]
    assert CONFIG_MAP.keys.keys() <= data.keys()
    assert all(data.values())


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("kubeflow", "advantageflow"), ("advantageflow", "advantageflow-mlflow*")],
    ids=["tasks", "mlflow"],
)
def test_only_s3_itself_is_asked_at_its_endpoint(
    overlay: Overlay, namespace: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = overlay.one("ConfigMap", name, namespace)["data"]
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    session = boto3.Session(aws_access_key_id="key", aws_secret_access_key="secret")
    assert session.client("s3").meta.endpoint_url == settings["AWS_ENDPOINT_URL_S3"]
    assert session.client("sts").meta.endpoint_url == f"https://sts.{settings['AWS_DEFAULT_REGION']}.amazonaws.com"


def test_tasks_find_the_secrets_that_the_script_makes(secrets: dict[tuple[str, str], dict[str, str]]) -> None:
    for wanted in (S3_SECRET, HF_SECRET):
        assert secrets["kubeflow", wanted.name].keys() == wanted.keys.keys()


def test_runs_find_their_account(overlay: Overlay) -> None:
    assert overlay.one("ServiceAccount", SERVICE_ACCOUNT, "kubeflow")


def test_the_quota_lets_the_preset_of_the_same_name_train(overlay: Overlay) -> None:
    training = load_resources(PRESETS[overlay.name], ONLINE).training
    assert training is not None
    quota = overlay.one("ResourceQuota", "advantageflow-gpus", "kubeflow")["spec"]["hard"]
    beside = 2 if training.nodes > 1 else 0  # an evaluation and a rollout, which else keep a node of the TrainJob out
    assert quota == {f"requests.{GPU}": str(int(training.gpus) * training.nodes + beside)}


def test_a_node_of_the_runtime_is_one_of_the_preset(overlays: dict[str, Overlay]) -> None:
    training = load_resources("multi-node", ONLINE).training
    assert training is not None
    [node] = [pod for pod in overlays["multi-node"].pods() if not pod.serves]
    [shared] = [volume["emptyDir"] for volume in node.spec["volumes"] if volume["emptyDir"].get("medium") == "Memory"]
    assert shared["sizeLimit"] == training.shared_memory
    assert [one.model_dump(exclude_none=True) for one in training.tolerations] == node.spec["tolerations"]
