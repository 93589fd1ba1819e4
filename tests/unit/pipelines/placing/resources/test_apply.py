"""Resources in the compiled pipeline: every value, on every task of its stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from given_resources import EVERYTHING, ON_CPU, ON_GPU, Tasks, load_resources

from advantageflow.settings import RunSettings, TrackingSettings
from advantageflow_pipelines.placing.placement import deadline
from advantageflow_pipelines.placing.resources.files import list_resources
from advantageflow_pipelines.placing.resources.fit import fit
from advantageflow_pipelines.placing.resources.stage_resources import (
    CONFIG_MAP,
    HF_SECRET,
    S3_SECRET,
    Resources,
    Retries,
    StageResources,
)

OWN_TASKS = ("opening", "closing")  # of no stage
OWN = (S3_SECRET, HF_SECRET, CONFIG_MAP)


def stage_of(task: str) -> str:
    return task.partition("-")[0]


@pytest.fixture(scope="module", params=list_resources())
def preset(request: pytest.FixtureRequest, compiled_tasks: Callable[[RunSettings, Resources], Tasks]) -> Any:
    """Resources of a preset, and the tasks compiled with them."""
    settings, resources = fit(ON_CPU if request.param == "cpu" else ON_GPU, load_resources(request.param))
    return resources, compiled_tasks(settings, resources)


def check(task: Any, given: StageResources, *, volumes: bool = True, own_as_variables: bool = False) -> None:
    """Compare all of a task with what its stage is given."""
    resources = task.container.resources
    assert resources.resource_cpu_request == given.cpu
    assert resources.resource_cpu_limit == (given.cpu_limit or "")
    assert resources.resource_memory_request == given.memory
    assert resources.resource_memory_limit == (given.memory_limit or given.memory)
    wanted = (given.gpu_type, str(given.gpus)) if given.gpus else ("", "")
    assert (resources.accelerator.resource_type, resources.accelerator.resource_count) == wanted

    pod = task.kubernetes
    assert dict(pod.node_selector.labels) == given.node_selector
    tolerations = [(one.key, one.operator, one.value, one.effect) for one in pod.tolerations]
    assert tolerations == [(t.key or "", t.operator, t.value or "", t.effect or "") for t in given.tolerations]
    mounts = {one.mount_path: (one.medium, one.size_limit) for one in pod.empty_dir_mounts}
    shared = {"/dev/shm": ("Memory", given.shared_memory)} if volumes and given.shared_memory else {}
    scratch = {"/scratch": ("", given.scratch)} if volumes and given.scratch else {}
    assert mounts == shared | scratch
    in_folders = [] if own_as_variables else [*pod.secret_as_volume, *pod.config_map_as_volume]
    assert {one.mount_path: one.optional for one in in_folders} == {
        f"/etc/advantageflow/{one.name}": one.optional
        for one in (*given.secrets, *given.config_maps)
        if one in OWN and not own_as_variables
    }
    secrets = [
        (one.secret_name, {pair.secret_key: pair.env_var for pair in one.key_to_env}, one.optional)
        for one in pod.secret_as_env
    ]
    as_variables = [one for one in given.secrets if own_as_variables or one not in OWN]
    assert secrets == [(one.name, one.keys, one.optional) for one in as_variables]
    maps = [
        (one.config_map_name, {pair.config_map_key: pair.env_var for pair in one.key_to_env}, one.optional)
        for one in pod.config_map_as_env
    ]
    as_variables = [one for one in given.config_maps if own_as_variables or one not in OWN]
    assert maps == [(one.name, one.keys, one.optional) for one in as_variables]
    assert [one.secret_name for one in pod.image_pull_secret] == list(given.image_pull_secrets)
    assert pod.active_deadline_seconds == (given.timeout_seconds or 0)

    retry, policy = given.retries, task.spec.retry_policy
    assert policy.max_retry_count == retry.count
    if retry.count:
        assert policy.backoff_duration.seconds == retry.backoff_seconds
        assert policy.backoff_factor == retry.factor
        longest = retry.deadline_seconds or deadline(retry, given.timeout_seconds)
        assert policy.backoff_max_duration.seconds == longest


def test_every_value_lands_on_every_task_of_its_stage(everything: Tasks) -> None:
    assert set(everything) == {
        "prompts", "rollout", "reward", "training", "evaluation", "rollout-2", "reward-2", "training-2", "evaluation-2",
        "evaluation-3", "opening", "closing",
    }  # fmt: skip
    for name, task in everything.items():
        if name not in OWN_TASKS:
            check(task, EVERYTHING.of(stage_of(name)))


def test_every_value_of_every_preset_lands_on_every_task_of_its_stage(preset: tuple[Resources, Tasks]) -> None:
    resources, tasks = preset
    for name, task in tasks.items():
        if name not in OWN_TASKS:
            on_nodes = stage_of(name) == "training" and resources.training.nodes > 1
            check(task, resources.of(stage_of(name)), volumes=not on_nodes, own_as_variables=on_nodes)


def test_all_pods_meet_the_restricted_standard_and_say_whose_they_are(everything: Tasks) -> None:
    for name, task in everything.items():
        assert task.kubernetes.security_context.run_as_non_root
        own = {"access-ml-pipeline": "true"} if name in OWN_TASKS else {}
        assert dict(task.kubernetes.pod_metadata.labels) == own | {
            "app.kubernetes.io/component": stage_of(name),
            "app.kubernetes.io/part-of": "advantageflow",
        }


def test_every_task_knows_its_run_by_its_pod_s_label_which_is_no_part_of_the_cache_s_key(everything: Tasks) -> None:
    for name, task in everything.items():
        [field] = task.kubernetes.field_path_as_env
        assert (field.name, field.field_path) == ("ADVANTAGEFLOW_PIPELINE_RUN_ID", "metadata.labels['pipeline/runid']")
        environment = {variable.name: variable.value for variable in task.container.env}
        assert environment["MLFLOW_EXPERIMENT_NAME"] == "flow"
        assert environment.get("ADVANTAGEFLOW_PRESET") == ("small" if name in OWN_TASKS else None)


def test_downloads_go_to_the_scratch_folder(everything: Tasks) -> None:
    environment = {variable.name: variable.value for variable in everything["rollout"].container.env}
    assert environment["XDG_CACHE_HOME"].startswith("/scratch/")


def test_nothing_limits_all_attempts_to_less_than_each_of_them_may_take() -> None:
    retries = Retries(count=2, backoff_seconds=60, factor=2)
    assert deadline(retries, 1000) == 3 * 1000 + 60 + 120
    assert deadline(retries, None) > 3 * 7 * 86_400


def test_the_first_task_comes_before_all_others_and_is_never_cached_nor_part_of_another_s_cache_key(
    everything: Tasks,
) -> None:
    opening, first = everything["opening"], everything["prompts"].spec
    assert list(first.dependent_tasks) == ["opening"]
    assert not any(one.HasField("task_output_parameter") for one in first.inputs.parameters.values())
    assert not first.inputs.artifacts
    assert first.caching_options.enable_cache
    assert not opening.spec.caching_options.enable_cache
    assert not opening.container.resources.accelerator.resource_count
    assert opening.container.image == everything["prompts"].container.image
    last = opening.spec.inputs.parameters["last_task"].runtime_value.constant.string_value
    assert last == "round 2 / evaluation"


def test_the_last_task_comes_after_all_others_whatever_happened_and_is_never_cached(everything: Tasks) -> None:
    closing = everything["closing"]
    assert closing.spec.trigger_policy.strategy == closing.spec.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED
    assert closing.spec.dependent_tasks == ["exit-handler-1"]
    assert not closing.spec.caching_options.enable_cache
    assert not closing.container.resources.accelerator.resource_count
    assert not closing.kubernetes.empty_dir_mounts
    assert [one.config_map_name for one in closing.kubernetes.config_map_as_env] == ["prompts-map"]


def test_the_default_experiment_is_not_said(compiled_tasks: Callable[[RunSettings, Resources], Tasks]) -> None:
    settings = ON_CPU.model_copy(update={"rounds": 1, "tracking": TrackingSettings()})
    tasks = compiled_tasks(*fit(settings, load_resources("cpu")))
    assert not tasks["training"].container.env
