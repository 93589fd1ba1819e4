"""Settings and resources that must agree: what is set, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from advantageflow.errors import SettingsError
from advantageflow.settings import (
    ModelSettings,
    RewardSettings,
    RewardTerm,
    RunSettings,
    StoreSettings,
    TrainingSettings,
)
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.resources import files
from advantageflow_pipelines.placing.resources.fit import default_resources, fit
from advantageflow_pipelines.placing.resources.stage_resources import (
    Resources,
    Retries,
    StageResources,
    TrainingResources,
    section_of,
)

ON_GPU = RunSettings(model=ModelSettings(device="cuda"))
STORE = StoreSettings(url="s3://bucket/runs")
CUDA = {"options": {"device": "cuda"}}


def load_resources(preset: str) -> Resources:
    return files.load_resources(preset, ONLINE)


def custom(**changed: StageResources) -> Resources:
    """The defaults, but for some stages."""
    stages = {stage.name: section_of(stage)() for stage in ONLINE.stages}
    return Resources({**stages, **changed})


def with_training(settings: RunSettings, **training: Any) -> RunSettings:
    return settings.model_copy(update={"training": TrainingSettings(**training)})


def with_resources(preset: str, stage: str, **changes: Any) -> Resources:
    resources = load_resources(preset)
    changed = resources.of(stage).model_copy(update=changes)
    return replace(resources, stages={**resources.stages, stage: changed})


def refused(settings: RunSettings, resources: Resources) -> str:
    with pytest.raises(SettingsError) as caught:
        fit(settings, resources)
    return str(caught.value)


def gpus(resources: Resources) -> dict[str, object]:
    return {stage: resources.of(stage).gpus for stage in ONLINE.stage_names}


@pytest.mark.parametrize(
    ("preset", "processes", "nodes"), [("single-gpu", 1, 1), ("multi-gpu", 8, 1), ("multi-node", 8, 2)]
)
def test_resources_say_how_many_processes_and_nodes_train(preset: str, processes: int, nodes: int) -> None:
    fitted, _ = fit(ON_GPU.model_copy(update={"store": STORE}), load_resources(preset))
    assert (fitted.training.processes, fitted.training.nodes) == (processes, nodes)


def test_settings_that_say_the_same_are_accepted() -> None:
    fitted, _ = fit(with_training(ON_GPU, processes=8, nodes=1), load_resources("multi-gpu"))
    assert fitted.training.processes == 8


def test_settings_that_say_otherwise_are_refused_with_both_numbers() -> None:
    text = refused(with_training(ON_GPU, processes=4, nodes=3), load_resources("multi-gpu"))
    assert "training.processes: 4 processes are to train on a node whose task is given 8 GPU(s)" in text
    assert "training.nodes: 3 nodes are to train, but resources multi-gpu give 1" in text


def test_on_cpus_the_settings_say_how_many_processes_train() -> None:
    fitted, _ = fit(with_training(RunSettings(), processes=2), load_resources("cpu"))
    assert fitted.training.processes == 2


def test_all_that_computes_on_the_model_s_device_is_given_a_gpu() -> None:
    _, given = fit(ON_GPU, load_resources("single-gpu"))
    assert gpus(given) == {"prompts": 1, "rollout": 1, "reward": 0, "training": 1, "evaluation": 1}


@pytest.mark.parametrize(
    ("reward", "stages"),
    [
        (RewardSettings(**CUDA), {"prompts", "reward", "evaluation"}),
        (RewardSettings(others=(RewardTerm(name="jpeg", **CUDA),)), {"prompts", "reward", "evaluation"}),
        (RewardSettings(watched=(RewardTerm(name="jpeg", **CUDA),)), {"prompts", "evaluation"}),
    ],
)
def test_a_reward_on_a_gpu_gives_one_to_the_stages_that_compute_it(reward: RewardSettings, stages: set[str]) -> None:
    settings = RunSettings(reward=reward)
    _, given = fit(settings, with_resources("single-gpu", "training", gpus=0))
    assert {stage for stage, number in gpus(given).items() if number} == stages
    text = refused(settings, load_resources("cpu"))
    assert {stage for stage in ONLINE.stage_names if f"{stage}.gpus (resources cpu)" in text} == stages


def test_a_stage_whose_device_it_lacks_is_named_with_the_setting_that_asks_for_it() -> None:
    text = refused(ON_GPU, with_resources("single-gpu", "evaluation", gpus=0))
    assert (
        "evaluation.gpus (resources single-gpu): model.device is cuda, but the evaluation stage is given no GPU" in text
    )


def test_a_gpu_that_nothing_computes_on_is_refused() -> None:
    assert "the training stage is given 1 GPU(s), but no setting" in refused(
        RunSettings(), load_resources("single-gpu")
    )


def test_several_nodes_need_a_store() -> None:
    assert "store.url: 2 nodes train" in refused(ON_GPU, load_resources("multi-node"))


@pytest.mark.parametrize("field", ["shared_memory", "scratch"])
def test_sizes_that_would_not_reach_the_nodes_are_refused(field: str) -> None:
    settings = ON_GPU.model_copy(update={"store": STORE})
    text = refused(settings, with_resources("multi-node", "training", **{field: "7Gi"}))
    assert f"training.{field} (resources multi-node): 7Gi would not reach the nodes" in text
    assert "TrainingRuntime advantageflow-torch" in text
    fit(settings, with_resources("multi-node", "training", **{field: None}))
    fit(settings, with_resources("multi-node", "rollout", **{field: "7Gi"}))


def test_a_folder_is_no_store_for_a_cluster() -> None:
    settings = RunSettings(store=StoreSettings(url="/data/runs"))
    assert "store.url: '/data/runs' is a folder" in refused(settings, load_resources("cpu"))


def test_spot_nodes_need_retries() -> None:
    text = refused(ON_GPU, with_resources("single-gpu", "rollout", spot=True, retries=Retries()))
    assert "rollout.retries (resources single-gpu): its nodes may be taken away (spot)" in text


@pytest.mark.parametrize(
    ("settings", "complete"),
    [
        (ON_GPU, False),
        (with_training(ON_GPU, checkpoint_every=2), False),
        (ON_GPU.model_copy(update={"store": STORE}), False),
        (with_training(ON_GPU.model_copy(update={"store": STORE}), checkpoint_every=2), True),
    ],
)
def test_training_on_spot_nodes_needs_checkpoints_in_a_store(settings: RunSettings, complete: bool) -> None:
    resources = with_resources("single-gpu", "training", spot=True)
    if complete:
        fit(settings, resources)
    else:
        assert "set training.checkpoint_every and store.url" in refused(settings, resources)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"cpu": "2500m", "cpu_limit": "2"}, "reward.cpu (resources custom): 2500m is more than cpu_limit, 2"),
        ({"memory": "2Gi", "memory_limit": "2000Mi"}, "2Gi is more than memory_limit, 2000Mi"),
        ({"memory": "2Gi", "shared_memory": "3Gi"}, "3Gi is more than the memory that it counts as, 2Gi"),
    ],
)
def test_requests_within_limits_and_shared_memory_within_memory(changes: dict[str, str], part: str) -> None:
    assert part in refused(RunSettings(), custom(reward=StageResources(**changes)))


def test_everything_that_is_wrong_is_said_at_once() -> None:
    resources = custom(training=TrainingResources(nodes=2, memory="1Gi", shared_memory="2Gi", spot=True))
    assert "5 settings are wrong" in refused(RunSettings(), resources)


@pytest.mark.parametrize(("device", "preset"), [("cpu", "cpu"), ("cuda", "single-gpu")])
def test_a_run_for_which_nothing_is_chosen_gets_what_suits_its_device(device: Any, preset: str) -> None:
    assert default_resources(RunSettings(model=ModelSettings(device=device))) == preset
