"""The pages of the repository, and the commands that stand in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BESIDE = ("README.md", "CONTRIBUTING.md", "docker/README.md", "infra/README.md")


def pages() -> list[Path]:
    """Every page that a person reads, but the tables of results."""
    found = [page for page in (ROOT / "docs").rglob("*.md") if page.name != "table.md"]
    return sorted([*found, *(ROOT / name for name in _BESIDE)])


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each `advantageflow` command in the page's indented blocks, without what is said beside it."""
    text = re.sub(r"\\\n\s*", "", page.read_text())
    for line in text.splitlines():
        if line.startswith("    advantageflow "):
            written, *_ = re.split(r"\s{3,}|\s#", line.strip())
            yield shlex.split(written)[1:]


def assigned(page: Path) -> Iterator[str]:
    """Every `--set NAME=VALUE` of the page, in blocks and in sentences."""
    yield from re.findall(r"--set ([a-z_.]+)=", page.read_text())
