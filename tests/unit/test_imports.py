"""What the packages may import of each other."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = {
    "components": {"advantageflow_pipelines", "advantageflow_experiments"},
    "pipelines": {"advantageflow_experiments"},
}
"""What each folder must not import: the images hold the components alone, and the product knows no experiment."""


def test_no_modules_import_each_other_in_a_circle(stage_imports: ModuleType) -> None:
    TopologicalSorter(stage_imports.SourceTree(ROOT / "components").graph()).prepare()  # raises CycleError


@pytest.mark.parametrize("folder", LAYERS)
def test_a_layer_imports_nothing_of_those_above_it(folder: str) -> None:
    found = {path: _packages(path) & LAYERS[folder] for path in (ROOT / folder).rglob("*.py")}
    assert {str(path): names for path, names in found.items() if names} == {}


def _packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}
