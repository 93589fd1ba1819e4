"""A container engine, where the machine has one, and the stages' images built by it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.client import DockerClient

from advantageflow_pipelines.containers.engine import ContainerError, container_engine
from advantageflow_pipelines.images import StageImages, read_images

ROOT = Path(__file__).parents[3]
# For builds on machines that reach base images and packages in ways of their own; .ci/run sets both.
BASE_IMAGE = os.environ.get("BASE_IMAGE")
BUILD_OPTIONS = shlex.split(os.environ.get("IMAGE_BUILD_OPTIONS", ""))
LONGEST_BUILD = 1800  # seconds, on a busy machine


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
    parts = [part["Name"] for part in engine.version()["Components"]]
    program = "podman" if any("Podman" in part for part in parts) else "docker"
    base = ["--base", BASE_IMAGE] if BASE_IMAGE else []
    names = ["--registry", "localhost", "--tag", "test", "--source", "https://git.example/advantageflow"]
    command = [str(ROOT / "docker" / "build.sh"), "--engine", program, *base, *names, "--images", str(file)]
    built = subprocess.run(
        [*command, "--", *BUILD_OPTIONS], cwd=file.parent, capture_output=True, text=True, timeout=LONGEST_BUILD
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return file


@pytest.fixture(scope="session")
def images(images_file: Path) -> StageImages:
    return read_images(images_file)
