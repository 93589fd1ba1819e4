"""A pipeline as it is sent: the same tasks, doing the same, and nothing in it twice; a short name of its content.

Kubeflow reads the annotations of pipeline functions, so they must not be postponed: no `annotations` import here.
"""

import json
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import dsl, kubernetes
from kfp.pipeline_spec import pipeline_spec_pb2

from advantageflow_pipelines.client.package import Package, compact
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.building import build_pipeline
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.placing.images import default_images


@dsl.component(base_image="image", install_kfp_package=False)
def add(left: int, right: int) -> int:
    return left + right


@dsl.component(base_image="image", install_kfp_package=False)
def total(numbers: list[int]) -> int:
    return sum(numbers)


def unfolded(package: Package) -> Any:
    """The pipeline with everything that a task refers to in its place: what the server makes of it."""

    def component(part: dict[str, Any]) -> dict[str, Any]:
        if "dag" not in part:
            label = part["executorLabel"]
            return {**part, "executorLabel": [package.executors[label], package.kubernetes.get(label)]}
        tasks = {name: {**task, "componentRef": component(package.components[task["componentRef"]["name"]])}
                 for name, task in part["dag"]["tasks"].items()}  # fmt: skip
        return {**part, "dag": {**part["dag"], "tasks": tasks}}

    return component(package.root)


@dsl.pipeline(name="step")
def step(value: int) -> int:
    first = add(left=value, right=1)
    return add(left=first.output, right=1).output


@dsl.pipeline(name="other-step")
def other_step(value: int) -> int:
    return add(left=value, right=1).output


@dsl.pipeline(name="nested")
def nested(start: int) -> int:
    return other_step(value=step(value=step(value=start).output).output).output


def test_equal_nested_pipelines_and_executors_are_one_and_the_tasks_are_the_same() -> None:
    whole = Package.of(nested)
    small = compact(whole)
    assert len(whole.components) == 8
    assert list(small.components) == ["comp-add", "comp-other-step", "comp-step"]
    assert list(small.executors) == ["exec-add"]
    assert unfolded(small) == unfolded(whole)
    assert compact(small) == small


def test_tasks_that_differ_in_kubernetes_settings_alone_stay_apart() -> None:
    @dsl.pipeline(name="placed")
    def placed() -> None:
        for pool in ("a", "b", "a"):
            kubernetes.add_node_selector(add(left=1, right=2), "pool", pool)

    small = compact(Package.of(placed))
    settings = small.kubernetes
    assert [one["nodeSelector"]["labels"] for one in settings.values()] == [{"pool": "a"}, {"pool": "b"}]
    tasks = small.root["dag"]["tasks"]
    used = [tasks[name]["componentRef"]["name"] for name in ("add", "add-2", "add-3")]
    assert used == ["comp-add", "comp-add-2", "comp-add"]


def test_each_loop_keeps_a_body_of_its_own_as_the_server_names_templates_after_it() -> None:
    @dsl.pipeline(name="loops")
    def loops() -> None:
        for _ in range(2):
            with dsl.ParallelFor([1, 2]) as number:
                one = add(left=number, right=1)
            total(numbers=dsl.Collected(one.output))

    small = compact(Package.of(loops))
    loop_bodies = [task["componentRef"]["name"] for task in small.root["dag"]["tasks"].values()
                   if "parameterIterator" in task]  # fmt: skip
    assert len(set(loop_bodies)) == 2
    assert [name for name in small.components if "loop" not in name] == ["comp-add", "comp-total"]


@pytest.fixture(scope="module")
def packages() -> tuple[Package, Package]:
    """Four rounds, as compiled and as sent."""
    run = cluster_run(choose_settings(preset="tiny", assignments=["rounds=4"]), default_images(ONLINE), "cpu")
    return Package.of(build_pipeline(run.settings, run.images, run.resources)), run.package()


def test_what_is_sent_is_what_kubeflow_s_protobufs_describe_without_unknown_fields(
    packages: tuple[Package, Package],
) -> None:
    _, sent = packages
    parsed = json_format.ParseDict(sent.pipeline, pipeline_spec_pb2.PipelineSpec())
    assert json_format.MessageToDict(parsed) == json.loads(json.dumps(sent.pipeline))
    deployment = json_format.ParseDict(sent.pipeline["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    assert set(deployment.executors) == {f"exec-{stage}" for stage in (
        "closing", "evaluation", "opening", "prompts", "reward", "rollout", "training")}  # fmt: skip
    platform = json_format.ParseDict(sent.platform, pipeline_spec_pb2.PlatformSpec())
    assert set(platform.platforms["kubernetes"].deployment_spec.executors) == set(deployment.executors)


def test_what_rounds_share_is_sent_once(packages: tuple[Package, Package]) -> None:
    whole, sent = packages
    assert [name for name in sent.components if "round" in name] == ["comp-round-01"]
    rounds = {name: task for name, task in sent.components["comp-exit-handler-1"]["dag"]["tasks"].items()
              if name.startswith("round")}  # fmt: skip
    assert len(rounds) == 4
    assert {task["componentRef"]["name"] for task in rounds.values()} == {"comp-round-01"}
    assert len(sent.as_yaml()) < 0.5 * len(whole.as_yaml())


def test_amounts_and_names_are_said_in_one_form(packages: tuple[Package, Package]) -> None:
    _, sent = packages
    resources = sent.executors["exec-training"]["container"]["resources"]
    assert resources == {"resourceCpuRequest": "2", "resourceMemoryLimit": "4Gi", "resourceMemoryRequest": "4Gi"}
    assert "NameParameter" not in json.dumps(sent.platform)


def test_a_pipeline_survives_being_written_as_a_file(packages: tuple[Package, Package]) -> None:
    _, sent = packages
    assert sent.platform
    assert Package.read(*yaml.load_all(sent.as_yaml(), yaml.CSafeLoader)) == sent


def test_the_digest_says_the_content(packages: tuple[Package, Package]) -> None:
    whole, sent = packages
    assert sent.digest() == compact(whole).digest()
    assert len({whole.digest(), sent.digest(), sent.without_cache().digest()}) == 3
