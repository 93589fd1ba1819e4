"""The pages build strictly: no dead link, no page left out; what is made from the code is whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest
import yaml
from pydantic import BaseModel

from advantageflow.rewards.plumbing.registry import BUILT_IN
from advantageflow.settings import RunSettings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=pages.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_page_is_built(site: Path) -> None:
    written = [page.relative_to(pages.ROOT / "docs") for page in (pages.ROOT / "docs").rglob("*.md")]
    assert [page for page in written if not (site / page.with_suffix(".html")).exists()] == []


def test_the_start_page_is_the_readme(site: Path) -> None:
    assert "make run" in (site / "index.html").read_text()
    assert 'href="running/cluster.html"' in (site / "index.html").read_text()


def test_formulas_are_shown_without_a_script(site: Path) -> None:
    method = (site / "method.html").read_text()
    assert method.count("<math") == (pages.ROOT / "docs" / "method.md").read_text().count("```math")


def test_every_setting_reward_and_command_is_described(site: Path) -> None:
    reference = {
        name: (site / "reference" / f"{name}.html").read_text() for name in ("settings", "rewards", "commands")
    }
    assert [name for name in settings(RunSettings) if f"<code>{name}</code>" not in reference["settings"]] == []
    assert {"training.objective.lam", "training.objective.beta"} <= set(
        re.findall(r"<code>([^<]*)</code>", reference["settings"])
    )
    assert [name for name in BUILT_IN if f'id="{name}"' not in reference["rewards"]] == []
    assert {"advantageflow-run", "advantageflow-runs", "advantageflow-schedule-create"} <= set(
        re.findall(r'<h2 id="([^"]*)"', reference["commands"])
    )


def test_nothing_is_fetched_when_a_page_is_read(site: Path) -> None:
    config = yaml.safe_load((pages.ROOT / "mkdocs.yml").read_text())
    assert config["theme"]["font"] is False
    assert [
        line
        for line in (site / "index.html").read_text().split("<")
        if line.startswith(('script src="http', 'link rel="stylesheet" href="http'))
    ] == []
