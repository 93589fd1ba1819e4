"""docker/build.sh: what it refuses before anything is built. What it builds is tested in tests/integration/images."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docker" / "build.sh"


def build(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tag", "latest"), "give a tag that never moves"),
        (("--stage", "rewards"), "the stages are prompts rollout reward training evaluation"),
        (("--tag",), "--tag needs a value"),
        (("--pull",), "there is no option --pull"),
        (("--engine", "no-such-engine"), "there is no no-such-engine here"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_built(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = build(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_names_every_option_that_is_understood(tmp_path: Path) -> None:
    shown = build("--help", cwd=tmp_path).stdout
    options = [
        line.strip().partition(")")[0]
        for line in SCRIPT.read_text().splitlines()
        if line.startswith("    --") and ")" in line.split()[0]
    ]
    assert len(options) >= 10
    assert [option for option in options if option not in shown] == []


def test_the_base_s_digest_is_asked_for_and_written_into_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BASE_IMAGE", "IMAGE_BUILD_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(SCRIPT.parent, tmp_path / "docker")
    (tmp_path / "components" / "advantageflow").mkdir(parents=True)
    (tmp_path / "components" / "advantageflow" / "__init__.py").write_text("")
    engine, digest = tmp_path / "engine", "sha256:" + "0f" * 32
    engine.write_text(f'#!/bin/sh\n[ "$1" = pull ] && echo "pulled $2" || echo "docker.io/library/python@{digest}"\n')
    engine.chmod(0o755)
    for _ in range(2):  # a digest that is there is replaced
        command = [str(tmp_path / "docker" / "build.sh"), "--engine", str(engine), "--tag", "1", "--lock-base"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "pulled python:3.11-slim\n" in done.stderr
    for name in ("Dockerfile", "docker-bake.hcl"):
        before, after = (folder.joinpath(name).read_text() for folder in (SCRIPT.parent, tmp_path / "docker"))
        assert re.sub(r"(python:3\.11-slim)(@sha256:\w+)?", rf"\1@{digest}", before) == after
