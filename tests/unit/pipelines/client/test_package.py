"""A pipeline as it is sent: within what Kubernetes can hold, and naming nothing that only this machine has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from advantageflow.errors import SettingsError
from advantageflow_pipelines.choices import choose_settings
from advantageflow_pipelines.client.local_files import check_no_local_files
from advantageflow_pipelines.client.package import MANY_TASKS, Package, check_size, count_tasks, read_package
from advantageflow_pipelines.cluster import cluster_run
from advantageflow_pipelines.images import StageImages
from advantageflow_pipelines.presets import list_presets


def package_of(folder: Path, *assignments: str) -> Package:
    file = folder / "pipeline.yaml"
    run = cluster_run(choose_settings(preset="tiny", assignments=assignments), StageImages(), None)
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


def test_files_of_this_machine_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.json").touch()
    (tmp_path / "model").mkdir()
    refused = {
        "prompts.source": ("here.json", "prompts.txt", str(tmp_path / "here.json")),
        "model.name": ("model", "./elsewhere", str(tmp_path / "model")),
        "reward.golden": ("golden.json", str(tmp_path / "here.json")),
        "init_policy": ("runs/last/policy", str(tmp_path / "model")),
    }
    for setting, names in refused.items():
        for name in names:
            with pytest.raises(SettingsError, match="does not see") as raised:
                check_no_local_files(choose_settings(preset="tiny", assignments=[f"{setting}={name}"]))
            assert raised.value.where == setting


def test_addresses_and_names_are_no_files() -> None:
    addresses = [
        "prompts.source=s3://bucket/prompts.jsonl",
        "model.name=stabilityai/stable-diffusion-3.5-medium",
        "init_policy=s3://bucket/policies/round-010",
    ]
    assert check_no_local_files(choose_settings(preset="tiny", assignments=addresses)) == []
    for name in ("shapes", "sd35-geneval", "sd35-ocr"):
        assert check_no_local_files(choose_settings(preset=name)) == []


def test_absolute_paths_that_are_not_here_are_those_of_the_images() -> None:
    settings = choose_settings(preset="tiny", assignments=["model.name=/in/the/image", "init_policy=/there/too"])
    assert check_no_local_files(settings) == ["init_policy: /there/too", "model.name: /in/the/image"]
