"""The files that the images are built from, held to each other, to the locks and to what the stages import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from advantageflow import __version__
from advantageflow_pipelines.pipelines import built_in_pipelines

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
REQUIREMENTS = DOCKER / "requirements"
STAGES = tuple(dict.fromkeys(stage.image_name for one in built_in_pipelines() for stage in one.stages))


@pytest.fixture(scope="module")
def homes() -> dict[str, set[str]]:
    """The packages that an importable name may come from."""
    return {name: set(map(canonicalize_name, found)) for name, found in metadata.packages_distributions().items()}


def lines(file: Path) -> list[str]:
    stripped = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in stripped if line]


def pins(file: Path) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines(file))}


def named(file: Path) -> set[str]:
    """Packages that a requirement file names, itself or through those that it includes."""
    names = set()
    for line in lines(file):
        include = line.removeprefix("-r ")
        names |= named(file.parent / include) if include != line else {canonicalize_name(line)}
    return names


def with_dependencies(names: set[str]) -> set[str]:
    """Packages and all that they require here."""
    found: set[str] = set()
    open_ends = list(names)
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            required = map(Requirement, metadata.requires(name) or ())
            open_ends += [
                canonicalize_name(r.name) for r in required if r.marker is None or r.marker.evaluate({"extra": ""})
            ]
    return found


def in_image(stage: str) -> set[str]:
    return with_dependencies(named(REQUIREMENTS / f"{stage}.txt") | {"torch"})


@pytest.mark.parametrize("stage", STAGES)
def test_an_image_has_what_its_stage_imports(stage: str, stage_imports: ModuleType, homes: dict[str, set[str]]) -> None:
    _, foreign = stage_imports.SourceTree(ROOT / "components").of_stage(stage)
    present = in_image(stage)
    assert [module for module in sorted(foreign) if present.isdisjoint(homes[module.partition(".")[0]])] == []


@pytest.mark.parametrize("stage", STAGES)
def test_an_image_has_nothing_that_is_another_stage_s(stage: str, stage_imports: ModuleType) -> None:
    assert in_image(stage).isdisjoint(stage_imports.FOREIGN[stage])


def test_the_stages_that_make_rewards_are_those_whose_images_are_asked_for_them(stage_imports: ModuleType) -> None:
    stages = {stage for one in built_in_pipelines() for stage in one.stages}
    assert set(stage_imports.REWARD_STAGES) == {stage.name for stage in stages if stage.rewards != "none"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_package_of_an_image_is_pinned(stage: str) -> None:
    locked = {**pins(REQUIREMENTS / "requirements.lock"), **pins(REQUIREMENTS / "torch.lock")}
    assert in_image(stage) - set(locked) == set()


def test_both_builds_of_torch_have_one_version_and_disagree_with_no_other_pin() -> None:
    cpu, cuda = (pins(REQUIREMENTS / name) for name in ("torch.lock", "torch-cuda.lock"))
    assert cpu["torch"] == cuda["torch"]
    assert not set(cuda) & set(pins(REQUIREMENTS / "requirements.lock"))


def test_the_build_file_builds_every_stage_in_the_version_of_the_package() -> None:
    bake = (DOCKER / "docker-bake.hcl").read_text()
    assert re.findall(r'variable "VERSION" \{\s*default = "([^"]*)"', bake) == [__version__]
    matrix = re.search(r"stage = \[([^\]]*)\]", bake)
    assert matrix is not None
    assert tuple(re.findall(r'"(\w+)"', matrix[1])) == STAGES


def test_the_dockerfile_has_a_target_for_every_stage_and_the_user_that_containers_are_run_as() -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM .* AS ([\w-]+)$", dockerfile, re.MULTILINE))
    assert set(STAGES) <= targets
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001:10001"] * len(STAGES)


def test_an_image_s_inventory_names_each_package_with_its_version(tmp_path: Path) -> None:
    command = [sys.executable, DOCKER / "sbom.py", "advantageflow/reward", tmp_path / "sbom.json"]
    subprocess.run(command, check=True)
    written = json.loads((tmp_path / "sbom.json").read_text())
    assert (written["bomFormat"], written["metadata"]["component"]["name"]) == ("CycloneDX", "advantageflow/reward")
    packages = {one["purl"]: one for one in written["components"]}
    torch = packages[f"pkg:pypi/torch@{quote(metadata.version('torch'), safe='')}"]
    assert torch["licenses"]
    assert f"pkg:pypi/huggingface-hub@{metadata.version('huggingface_hub')}" in packages
    dockerfile = (DOCKER / "Dockerfile").read_text()
    assert all(f"sbom.py advantageflow/{stage} " in dockerfile for stage in STAGES)
