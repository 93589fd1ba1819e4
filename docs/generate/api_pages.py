"""Pages of the Python API: one for each package of the components, its modules in turn, from their docstrings."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

COMPONENTS = Path(__file__).parents[2] / "components"
PACKAGE = COMPONENTS / "advantageflow"


def paths() -> dict[str, str]:
    """Path of a package's page by the package's name."""
    return {name: _path(name) for name in _modules()}


def pages() -> dict[str, str]:
    """Text of each page by its path."""
    return {_path(name): _page(name, files) for name, files in _modules().items()}


def _path(name: str) -> str:
    return f"reference/api/{name}.md"


@cache
def _modules() -> dict[str, list[Path]]:
    """The modules of each package, those of the root under the root's own name."""
    packages = {PACKAGE.name: sorted(PACKAGE.glob("*.py"))}
    for folder in sorted(PACKAGE.iterdir()):
        if (folder / "__init__.py").exists():
            packages[f"{PACKAGE.name}.{folder.name}"] = sorted(folder.rglob("*.py"))
    return packages


def _page(name: str, files: list[Path]) -> str:
    lines = [f"# {name}", ""]
    for file in files:
        if file.name == "__init__.py":
            if file.parent == files[0].parent:
                lines += [ast.get_docstring(ast.parse(file.read_text())) or "", ""]
            continue
        module = ".".join(file.relative_to(COMPONENTS).with_suffix("").parts)
        lines += [f"## `{module.removeprefix(name + '.')}`", "", f"::: {module}", "    options:",
                  "      show_root_heading: false", "      show_root_toc_entry: false", ""]  # fmt: skip
    return "\n".join(lines)
