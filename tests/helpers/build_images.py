"""The stages' images, built by docker/build.sh."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from docker.client import DockerClient

ROOT = Path(__file__).parents[2]
# For builds on machines that reach base images and packages in ways of their own; .ci/run sets both.
BASE_IMAGE = os.environ.get("BASE_IMAGE")
BUILD_OPTIONS = shlex.split(os.environ.get("IMAGE_BUILD_OPTIONS", ""))
LONGEST_BUILD = 1800  # seconds, on a busy machine


def build(
    engine: DockerClient, tag: str, file: Path, options: Sequence[str] = (), engine_options: Sequence[str] = ()
) -> None:
    """Builds images as localhost/advantageflow/STAGE:tag with docker/build.sh, which writes them to `file`."""
    parts = [part["Name"] for part in engine.version()["Components"]]
    program = "podman" if any("Podman" in part for part in parts) else "docker"
    base = ["--base", BASE_IMAGE] if BASE_IMAGE else []
    names = ["--registry", "localhost", "--tag", tag, "--source", "https://git.example/advantageflow"]
    command = [str(ROOT / "docker" / "build.sh"), "--engine", program, *base, *names, "--images", str(file), *options]
    built = subprocess.run(
        [*command, "--", *BUILD_OPTIONS, *engine_options],
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=LONGEST_BUILD,
    )
    assert built.returncode == 0, built.stdout + built.stderr
