"""A pipeline as it is sent: within what Kubernetes can hold, and naming nothing that only this machine has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.package import MANY_TASKS, Package, check_size, count_tasks, read_package
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.cluster import cluster_run
from advantageflow_pipelines.placing.images import default_images
from advantageflow_pipelines.presets import list_presets


def package_of(folder: Path, *assignments: str) -> Package:
    file = folder / "pipeline.yaml"
    run = cluster_run(choose_settings(preset="tiny", assignments=assignments), default_images(ONLINE), None)
    with ThreadPoolExecutor(1) as thread:  # whose stack is short, which Kubeflow's compiler looks through many times
        thread.submit(run.compile, file).result()
    return read_package(file)


def test_a_pipeline_survives_being_written_as_a_file(tmp_path: Path) -> None:
    package = package_of(tmp_path)
    assert package.platform
    (tmp_path / "again.yaml").write_text(package.as_yaml())
    assert read_package(tmp_path / "again.yaml") == package


def test_the_digest_says_the_content(tmp_path: Path) -> None:
    package = package_of(tmp_path)
    assert package.digest() == package_of(tmp_path).digest()
    others = (package_of(tmp_path, "seed=1"), package.without_cache())
    assert len({package.digest(), *(one.digest() for one in others)}) == 3


def test_the_tasks_that_are_counted_are_those_of_the_pipeline(tmp_path: Path) -> None:
    settings = choose_settings(preset="tiny", assignments=["rounds=3", "rollout.shards=4"])
    package = package_of(tmp_path, "rounds=3", "rollout.shards=4")
    components = package.pipeline["components"]

    def count(component: dict[str, Any]) -> int:
        if "dag" not in component:
            return 1
        return sum(
            count(components[task["componentRef"]["name"]]) * (4 if "parameterIterator" in task else 1)
            for task in component["dag"]["tasks"].values()
        )

    assert count_tasks(settings) == count(package.pipeline["root"])


def test_no_preset_is_warned_of() -> None:
    for name in list_presets():
        assert count_tasks(choose_settings(preset=name)) <= MANY_TASKS


def test_many_tasks_are_warned_of(tmp_path: Path) -> None:
    settings = choose_settings(preset="tiny", assignments=["rounds=20", "rollout.shards=8"])
    warning = check_size(package_of(tmp_path), settings)
    assert warning is not None
    assert "--init-policy" in warning
    assert check_size(package_of(tmp_path), choose_settings(preset="tiny")) is None


def test_a_pipeline_that_kubernetes_cannot_hold_is_refused_with_the_number_of_rounds_that_fit(tmp_path: Path) -> None:
    settings = choose_settings(preset="tiny", assignments=["rounds=100"])
    big = Package({**package_of(tmp_path).pipeline, "padding": "x" * 2_000_000}, {})
    with pytest.raises(SettingsError, match="100 rounds are") as raised:
        check_size(big, settings)
    assert "run at most 7" in raised.value.remedy
