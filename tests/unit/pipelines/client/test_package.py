"""A pipeline as it is sent: a file, and a short name of its content."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from advantageflow_pipelines.client.package import Package, read_package
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.cluster import cluster_run, write_package
from advantageflow_pipelines.placing.images import default_images


def package_of(*assignments: str) -> Package:
    run = cluster_run(choose_settings(preset="tiny", assignments=assignments), default_images(ONLINE), None)
    with ThreadPoolExecutor(1) as thread:  # whose stack is short, which Kubeflow's compiler looks through many times
        return thread.submit(run.package).result()


def test_a_pipeline_survives_being_written_as_a_file(tmp_path: Path) -> None:
    package = package_of()
    assert package.platform
    write_package(package, tmp_path / "again.yaml")
    assert read_package(tmp_path / "again.yaml") == package


def test_the_digest_says_the_content() -> None:
    package = package_of()
    assert package.digest() == package_of().digest()
    others = (package_of("seed=1"), package.without_cache())
    assert len({package.digest(), *(one.digest() for one in others)}) == 3
