"""The images as they come out of the build: what is in them, what is not, and how large they are."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
from build_images import build
from docker.client import DockerClient
from docker.types import Mount
from packaging.utils import canonicalize_name

from advantageflow import __version__
from advantageflow_pipelines.pipelines.online.definition import ONLINE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LABELS = "org.opencontainers.image."
BUILD_TOOLS = """
import importlib.util, os, shutil
programs = ("pip", "pip3", "easy_install", "wheel", "gcc", "g++", "cc", "c++", "clang", "make", "cmake", "ld", "protoc")
modules = ("pip", "ensurepip", "setuptools", "wheel", "pkg_resources")
found = [*filter(shutil.which, programs), *filter(importlib.util.find_spec, modules)]
print(os.getuid(), os.getgid(), *found)
"""


def python(engine: DockerClient, image: str, code: str, *arguments: str) -> str:
    """What a program prints in an image, as strictly confined as on a cluster.

    It is printed to a file, as podman may be asked for a container's output before it has all of it.
    """
    with TemporaryDirectory() as out:
        os.chmod(out, 0o777)
        engine.containers.run(
            image,
            ["sh", "-c", f'exec python3 -c "$0" "$@" >{out}/printed', code, *arguments],
            remove=True,
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": "mode=1777"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mounts=[Mount(out, out, type="bind")],
        )
        return Path(out, "printed").read_text()


def layers(engine: DockerClient, image: str) -> dict[str, int]:
    """Size by layer; the engine tells the sizes in the history, newest first, with steps that made no layer between."""
    attributes = engine.images.get(image).attrs
    sizes = [entry["Size"] for entry in reversed(engine.api.history(image)) if entry["Size"]]
    return dict(zip(attributes["RootFS"]["Layers"], sizes, strict=False))


def locked() -> dict[str, str]:
    text = "\n".join(
        (ROOT / "docker" / "requirements" / f"{name}.lock").read_text() for name in ("requirements", "torch")
    )
    pins = (line.split("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


@pytest.fixture(scope="module")
def reports(engine: DockerClient, images: dict[str, str], stage_imports: ModuleType) -> dict[str, Any]:
    """What stage_imports.py reports, by stage; all cores are used."""
    code = inspect.getsource(stage_imports)

    def report(stage: str) -> Any:
        return json.loads(python(engine, images[stage], code, "/opt/advantageflow", stage).splitlines()[-1])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(ONLINE.stage_names, pool.map(report, ONLINE.stage_names), strict=True))


@pytest.mark.parametrize("stage", ONLINE.stage_names)
def test_a_stage_imports_all_of_its_code_in_its_image_from_packages_of_the_lock(
    reports: dict[str, Any], stage: str, stage_imports: ModuleType
) -> None:
    report = reports[stage]
    assert report["failed"] == {}
    installed = {name: version.partition("+")[0] for name, version in report["installed"].items()}
    assert installed.items() <= locked().items()
    assert set(installed).isdisjoint(stage_imports.FOREIGN[stage])
    assert {"kfp", "torch", "mlflow-skinny"} <= set(installed)


@pytest.mark.parametrize("stage", ONLINE.stage_names)
def test_an_image_runs_as_a_plain_user_and_has_nothing_to_build_or_install_with(
    engine: DockerClient, images: dict[str, str], stage: str
) -> None:
    assert python(engine, images[stage], BUILD_TOOLS).split() == ["10001", "10001"]
    assert engine.images.get(images[stage]).attrs["Config"]["User"] == "10001:10001"  # a number: runAsNonRoot sees it


@pytest.mark.parametrize("stage", ONLINE.stage_names)
def test_an_image_s_labels_say_what_it_is_and_where_it_comes_from(
    engine: DockerClient, images: dict[str, str], stage: str
) -> None:
    labels = engine.images.get(images[stage]).labels
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    revision = git.stdout.strip() or "unknown"
    assert labels[f"{LABELS}title"] == f"advantageflow/{stage}"
    assert labels[f"{LABELS}version"] == __version__
    assert labels[f"{LABELS}revision"].removesuffix("-dirty") == revision
    assert labels[f"{LABELS}source"] == "https://git.example/advantageflow"
    assert labels[f"{LABELS}licenses"] == "Apache-2.0"
    assert labels[f"{LABELS}description"]


def test_an_image_names_its_revision_also_where_only_that_has_changed_since_another_was_built(
    engine: DockerClient, images: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "images.json"
    build(engine, "another-revision", file, ["--stage", "reward"], ["--build-arg", "REVISION=another"])
    [name] = json.loads(file.read_text()).values()
    image = engine.images.get(name)
    try:
        assert image.labels[f"{LABELS}revision"] == "another"
        assert "ADVANTAGEFLOW_REVISION=another" in image.attrs["Config"]["Env"]
        assert python(engine, name, "print(open('/opt/advantageflow/BUILD').read())").split()[3] == "another"
    finally:
        engine.images.remove(name)


def test_five_images_take_little_more_room_than_the_largest(
    engine: DockerClient, images: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    by_stage = {stage: layers(engine, images[stage]) for stage in ONLINE.stage_names}
    sizes = {stage: sum(found.values()) for stage, found in by_stage.items()}
    together = sum({digest: size for found in by_stage.values() for digest, size in found.items()}.values())
    with capsys.disabled():
        shown = ", ".join(f"{stage} {size / 1e6:,.0f}" for stage, size in sizes.items())
        print(f"\nimages, MB: {shown}; together, shared layers once: {together / 1e6:,.0f}")
    assert together < 1.15 * max(sizes.values())
