"""The critical path of a simulated run: what waits for what, and what running side by side saves."""

from __future__ import annotations

import pytest

from advantageflow.settings import RunSettings
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.placing.cluster import TASK_SECONDS as TASK
from advantageflow_pipelines.plan.critical_path import OVERLAPS, Task, critical_path, simulate

HOURS = {"prompts": 0.02, "rollout": 2.4, "reward": 0.8, "training": 4.8, "evaluation": 0.8}  # of sd35-geneval, about
MIB = 2**20


def geneval(*assignments: str) -> RunSettings:
    return choose_settings(preset="sd35-geneval", assignments=assignments)


def test_a_task_waits_for_those_before_it_for_kubeflow_and_for_gpus() -> None:
    tasks = [Task("a", "s", 100, 1), Task("b", "s", 50, 2, ["a"]), Task("c", "s", 30, 1), Task("d", "s", 10, 1)]
    ended = {task.name: task for task in simulate(tasks, 2)}
    assert {name: (task.start, task.end) for name, task in ended.items()} == {
        "a": (TASK, TASK + 100),
        "c": (TASK, TASK + 30),
        "d": (TASK + 30, TASK + 40),
        "b": (2 * TASK + 100, 2 * TASK + 150),
    }
    assert ended["b"].waited_for is ended["a"]
    assert ended["d"].waited_for is ended["c"], "which held the GPU"


def test_the_path_is_made_of_its_parts_and_each_overlap_saves_what_it_hides() -> None:
    path = critical_path(geneval("training.checkpoint_every=1", "store.url=s3://b/p"), HOURS, 5, 360 * MIB)
    assert sum(path.parts.values()) == pytest.approx(path.hours)
    assert path.in_line - sum(path.saved.values()) == pytest.approx(path.hours)
    evaluations, rewards, uploads = (path.saved[name] for name in OVERLAPS)
    assert evaluations == pytest.approx(0.8 * 3_000 / 5_400 + 2 * TASK / 3600, rel=0.01), "all but the last one's"
    assert rewards == 0, "all shards run at once"
    assert uploads == pytest.approx(10 * 4 * 360 * MIB / 100e6 / 3600)
    assert path.parts["training"] == pytest.approx(4.8)


def test_rewards_run_beside_rollouts_where_gpus_are_fewer_than_shards() -> None:
    path = critical_path(geneval("rollout.shards=8"), HOURS, 3, 0)
    assert path.saved[OVERLAPS[1]] > 0


def test_shards_that_are_scored_where_they_are_made_shorten_the_path() -> None:
    apart = critical_path(geneval(), HOURS, 5, 0)
    hours = {stage: value for stage, value in HOURS.items() if stage != "reward"}
    hours["rollout"] += HOURS["reward"] - 40 * 30 / 3600  # without the starts of its tasks
    together = critical_path(geneval("rollout.scored=true"), hours, 5, 0)
    assert together.hours < apart.hours - 10 * TASK / 3600
    assert "reward" not in together.parts


def test_what_kubeflow_takes_is_known_without_hours_and_grows_with_pipeline_runs() -> None:
    unknown = dict.fromkeys(HOURS, None)
    path = critical_path(geneval(), unknown, 100, 0)
    in_line = 2 + 1 + 10 * 3 + 1  # two around; prompts; each round's rollout, reward and training; an evaluation
    assert path.hours == pytest.approx(path.parts["Kubeflow"]) == pytest.approx(in_line * TASK / 3600)
    assert critical_path(geneval(), unknown, 100, 0, 3).hours == pytest.approx((in_line + 4) * TASK / 3600)


def test_of_rounds_in_one_task_each_evaluation_runs_beside_the_next_of_those() -> None:
    settings = geneval("pipeline=resident", "rounds=20", "evaluation.every=5")
    path = critical_path(settings, {"prompts": 0.0, "loop": 4.0, "evaluation": 0.5}, 2, 0)
    assert path.parts["loop"] == pytest.approx(4.0)
    assert path.parts["Kubeflow"] == pytest.approx((2 + 1 + 4 + 1) * TASK / 3600)
    assert path.saved[OVERLAPS[0]] > 0
