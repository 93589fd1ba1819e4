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
STAGES = ("prompts", "rollout", "scoring", "training", "evaluation")


def test_no_modules_import_each_other_in_a_circle(stage_imports: ModuleType) -> None:
    TopologicalSorter(stage_imports.SourceTree(ROOT / "components").graph()).prepare()  # raises CycleError


def test_the_mathematics_imports_nothing_else_of_ours(stage_imports: ModuleType) -> None:
    assert _folders_imported_by(stage_imports, "flow") == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage(stage_imports: ModuleType, stage: str) -> None:
    assert _folders_imported_by(stage_imports, stage) & set(STAGES) == set()


def _folders_imported_by(stage_imports: ModuleType, folder: str) -> set[str]:
    """Folders and modules of advantageflow/ beside the folder that modules in it import."""
    graph = stage_imports.SourceTree(ROOT / "components").graph()
    imported = {name for module, names in graph.items() if _folder(module) == folder for name in names}
    assert imported
    return {_folder(name) for name in imported} - {folder, ""}


def _folder(module: str) -> str:
    """The folder of advantageflow/ that a module lies in, or the module right in it; empty: the package itself."""
    return module.partition(".")[2].partition(".")[0]


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
