"""Resources by preset or file: how they add up, and what is said when they are wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from advantageflow.errors import SettingsError
from advantageflow_pipelines.pipelines.definition import Pipeline, Stage
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.resources import files
from advantageflow_pipelines.placing.resources.files import list_resources, resources_text
from advantageflow_pipelines.placing.resources.stage_resources import (
    Resources,
    StageResources,
    Toleration,
    TrainingResources,
)


def load_resources(name: str, pipeline: Pipeline = ONLINE) -> Resources:
    return files.load_resources(name, pipeline)


@pytest.fixture
def write(tmp_path: Path) -> object:
    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_every_preset_loads_and_says_what_it_is_for() -> None:
    purposes = list_resources()
    assert list(purposes) == ["cpu", "multi-gpu", "multi-node", "single-gpu"]
    assert all(len(purpose) > 20 for purpose in purposes.values())


def test_presets_build_on_each_other() -> None:
    single, node, nodes = (load_resources(name) for name in ("single-gpu", "multi-gpu", "multi-node"))
    assert (single.training.gpus, node.training.gpus, nodes.training.gpus) == (1, 8, 8)
    assert (single.training.nodes, node.training.nodes, nodes.training.nodes) == (1, 1, 2)
    assert single.of("rollout") == node.of("rollout") == nodes.of("rollout")
    assert nodes.training.model_copy(update={"nodes": 1}) == node.training


def test_a_stage_s_own_value_stands_over_that_for_all_and_that_over_the_base_s(write) -> None:
    mine = load_resources(
        write(
            "base: single-gpu\n"
            "service_account: trainer\n"
            "all: {memory: 64Gi, node_selector: {pool: gpu}}\n"
            "reward: {memory: 16Gi}\n"
        )
    )
    base = load_resources("single-gpu")
    assert mine.of("rollout") == base.of("rollout").model_copy(
        update={"memory": "64Gi", "node_selector": {"pool": "gpu"}}
    )
    assert mine.of("reward").memory == "16Gi"
    assert mine.training.gpus == base.training.gpus
    assert (mine.service_account, mine.preset) == ("trainer", "custom")


def test_without_a_base_what_is_not_said_is_the_default(write) -> None:
    mine = load_resources(write("all: {cpu: 3}"))
    stages = {stage: StageResources(cpu="3") for stage in ONLINE.stage_names}
    assert mine == Resources({**stages, "training": TrainingResources(cpu="3", nodes=1)})


def test_numbers_of_cores_may_be_written_as_numbers(write) -> None:
    mine = load_resources(write("prompts: {cpu: 2}\nreward: {cpu: 0.5}\nrollout: {cpu: 500m}"))
    assert [mine.of(stage).cpu for stage in ("prompts", "reward", "rollout")] == ["2", "0.5", "500m"]


def test_everything_that_is_wrong_is_named_with_its_line(write) -> None:
    path = write(
        "all:\n"
        "  memry: 3Gi\n"
        "  node_selector: {pool: true}\n"
        "training:\n"
        "  cpu: four\n"
        "  memory: 16GB\n"
        "  gpus: -1\n"
        "  nods: 2\n"
        "  tolerations: [{key: a, operator: Equal}]\n"
        "  retries: {count: 20, factor: 10}\n"
    )
    with pytest.raises(SettingsError) as caught:
        load_resources(path)
    text = str(caught.value)
    for part in (
        f"all.memry ({path}:2): there is no such setting; did you mean 'all.memory'?",
        f"all.node_selector.pool ({path}:3): True is not allowed; give a section of names and values",
        "quote numbers and true",
        f"training.cpu ({path}:5): 'four' is not allowed; give text (request; cores, as in 4 or 500m)",
        f"training.memory ({path}:6): '16GB' is not allowed",
        f"training.gpus ({path}:7): must be at least 0, or auto",
        f"training.nods ({path}:8): there is no such setting; did you mean 'training.nodes'?",
        f"training.tolerations.0 ({path}:9): operator Equal needs a key and a value",
        f"training.retries ({path}:10): the last wait would be",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sngle-gpu", ("unknown resources 'sngle-gpu'", "did you mean 'single-gpu'?")),
        ("missing.yaml", ("missing.yaml: cannot be read",)),
    ],
)
def test_resources_that_do_not_exist_are_a_clear_error(name: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_resources(name)
    assert all(part in str(caught.value) for part in parts)


def test_an_unknown_base_is_named_with_its_line(write) -> None:
    path = write("\nbase: multi-nodes")
    with pytest.raises(SettingsError, match="did you mean 'multi-node'") as caught:
        load_resources(path)
    assert caught.value.where == f"base ({path}:2)"


def test_a_stage_that_the_pipeline_does_not_have_is_refused_with_the_nearest(write) -> None:
    with pytest.raises(SettingsError, match="there is no such setting") as caught:
        load_resources(write("rewards: {cpu: 2}"))
    assert "did you mean 'reward'?" in caught.value.remedy


def test_presets_name_no_stage_but_the_one_that_trains() -> None:
    other = Stage("judging", on_model_device=True)
    given = load_resources("multi-node", replace(ONLINE, stages=(other,)))
    assert (list(given.stages), given.of("judging").gpus, given.training, given.nodes) == (["judging"], "auto", None, 1)
    trainer = Stage("learning", over_nodes=True)
    given = load_resources("multi-node", replace(ONLINE, stages=(other, trainer)))
    assert (given.of("learning"), given.trainer) == (load_resources("multi-node").training, "learning")


def test_an_empty_file_says_what_it_may_hold(write) -> None:
    with pytest.raises(SettingsError, match="base: single-gpu"):
        load_resources(write("# nothing\n"))


def test_the_text_of_a_preset_is_a_file_that_gives_the_same(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(resources_text("multi-gpu", ONLINE))
    assert replace(load_resources(str(copy)), preset="multi-gpu") == load_resources("multi-gpu")


@pytest.mark.parametrize(
    "values",
    [{"operator": "Exists", "value": "x"}, {"operator": "Equal", "key": "x"}, {"operator": "Equal", "value": "x"}],
)
def test_tolerations_that_kubernetes_would_refuse_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="operator Equal needs a key and a value"):
        Toleration(**values)
