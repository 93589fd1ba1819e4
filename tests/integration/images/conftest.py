"""A container engine, where the machine has one, and the stages' images built by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from build_images import build
from docker.client import DockerClient

from advantageflow_pipelines.local.runners import ContainerError, container_engine
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.images import read_images


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    try:
        with container_engine() as client:
            yield client
    except ContainerError as error:
        pytest.skip(f"no container engine at {error.where}")


@pytest.fixture(scope="session")
def images_file(engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of images that docker/build.sh wrote."""
    file = tmp_path_factory.mktemp("images") / "images.json"
    build(engine, "test", file)
    return file


@pytest.fixture(scope="session")
def images(images_file: Path) -> dict[str, str]:
    return read_images(images_file, ONLINE)
