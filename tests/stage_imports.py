"""What a stage's code imports, read from its source: `python stage_imports.py ROOT STAGE` imports all of it.

It runs in the stages' images too, which hold no test: only the standard library and what it is told to import.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PACKAGE = "advantageflow"
_NOWHERE = {"mlflow", "flask", "pytest", "ruff", "mypy", "moto", "kubeflow-trainer-api"}  # of MLflow, its client alone
_READING = {"rapidocr", "onnxruntime", "opencv-python-headless", "scipy"}
FOREIGN = {
    "prompts": {"matplotlib", *_NOWHERE},
    "rollout": {"matplotlib", *_READING, *_NOWHERE},
    "reward": {"accelerate", "diffusers", "peft", "matplotlib", *_NOWHERE},
    "training": {"matplotlib", *_READING, *_NOWHERE},
    "evaluation": _NOWHERE,
    "loop": {"matplotlib", *_NOWHERE},
}
"""Packages that have no place in a stage's image."""
FOLDERS = {"reward": "scoring"}
"""Packages of stages that have another name."""
REWARD_STAGES = (
    "prompts",
    "reward",
    "evaluation",
    "loop",
)  # those that make rewards, which are imported by their names


class SourceTree:
    """The modules of the package below a folder.

    Args:
        root: the folder that holds the package.
    """

    def __init__(self, root: Path) -> None:
        self._files = dict(_modules(root))

    def of_stage(self, stage: str) -> tuple[set[str], set[str]]:
        """Own modules that a stage's task may import, at start or in a function, and the foreign packages of these."""
        folder = FOLDERS.get(stage, stage)
        starts = {f"{PACKAGE}.{folder}.component", f"{PACKAGE}.{folder}.stage", f"{PACKAGE}.runtime"}
        if stage in REWARD_STAGES:
            starts |= {name for name in self._files if name.startswith(f"{PACKAGE}.rewards.")}
        if stage in ("training", "loop"):
            starts |= {name for name in self._files if name.startswith(f"{PACKAGE}.objectives.")}
        if stage == "evaluation":  # whose image makes and scores a shard in one task
            starts |= {f"{PACKAGE}.loop.component", f"{PACKAGE}.loop.shard"}
        own: set[str] = set()
        foreign: set[str] = set()
        open_ends = list(starts)
        while open_ends:
            name = open_ends.pop()
            if name in own:
                continue
            own.add(name)
            for imported in self._imports(name):
                if imported.partition(".")[0] == PACKAGE:
                    open_ends += [part for part in _with_parents(imported) if part in self._files]
                elif imported.partition(".")[0] not in sys.stdlib_module_names:
                    foreign.add(imported)
        return own, foreign

    def graph(self) -> dict[str, set[str]]:
        """The own modules that each module imports, at start or in a function."""
        return {name: self._imports(name) & set(self._files) for name in self._files}

    def _imports(self, name: str) -> set[str]:
        finder = _Imports(self._files)
        finder.visit(ast.parse(self._files[name].read_text(encoding="utf-8")))
        return finder.found


class _Imports(ast.NodeVisitor):
    """Collects what is imported at run time, anywhere in a module."""

    def __init__(self, known: dict[str, Path]) -> None:
        self._known = known
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.module is not None
        names = {f"{node.module}.{alias.name}" for alias in node.names}
        self.found |= {node.module} | (names & set(self._known))


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    for path in (root / PACKAGE).rglob("*.py"):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def main(root: str, stage: str) -> None:
    """Import all of a stage; print as JSON what was imported, what failed, and every package that is installed."""
    own, foreign = SourceTree(Path(root)).of_stage(stage)
    failed = {}
    for name in sorted(own | foreign):
        try:
            importlib.import_module(name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    installed = {found.metadata["Name"].lower().replace("_", "-"): found.version for found in metadata.distributions()}
    print(json.dumps({"own": sorted(own), "foreign": sorted(foreign), "failed": failed, "installed": installed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
