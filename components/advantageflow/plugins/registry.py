"""Things of one kind by name: built in, plug-ins of an entry point group, and others by their path."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, invalidate_caches
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.suggestions import suggest

_FORM = "write it as package.module:Class"


@dataclass(frozen=True)
class Source:
    """Where a thing comes from."""

    origin: str  # 'built in', 'by its path', or the plug-in that brings it
    target: EntryPoint | str  # its path, 'package.module:Class', or the entry point that loads it

    def find(self, where: str) -> Any:
        """What it names; only its own module is imported. `where` is the setting that names it, for errors.

        Raises:
            SettingsError: the path is wrong; says what there is.
            Exception: whatever importing the module raises.
        """
        # No test for EntryPoint: the importlib_metadata backport has a class of its own.
        return _find_object(self.target, where) if isinstance(self.target, str) else self.target.load()

    def load(self, where: str) -> Callable[..., Any]:
        """Its class, or the function that makes it; takes and raises what `find` does, and refuses anything else."""
        found = self.find(where)
        if not callable(found):
            message = f"'{self.target}' is of type {type(found).__name__}, not a class"
            raise SettingsError(message, where=where, remedy=_FORM)
        return found


@dataclass(frozen=True)
class Registry:
    """All things of one kind that settings can name."""

    kind: str  # what one of them is called, such as 'reward'
    group: str  # the entry point group of plug-ins
    built_in: Mapping[str, str]  # path by name
    hint: str = ""  # what a message about an unknown name ends with

    def sources(self) -> dict[str, Source]:
        """Every registered one by name; raises SettingsError if two claim one name."""
        sources = {name: Source("built in", path) for name, path in self.built_in.items()}
        for point in _entry_points(self.group, tuple(sys.path)):
            origin = f"plug-in {point.dist.name if point.dist else ''} {point.value}".replace("  ", " ")
            source = Source(origin, point)
            if sources.setdefault(point.name, source) != source:
                remedy = "rename the plug-in's entry point, or uninstall one of the two"
                message = f"two {self.kind}s are called '{point.name}': {sources[point.name].origin} and {origin}"
                raise SettingsError(message, where=f"entry points '{self.group}'", remedy=remedy)
        return sources

    def source(self, name: str, where: str) -> Source:
        """The one of this name, or at this path 'package.module:Class'. `where` is the setting that names it.
        Raises SettingsError: there is none of this name; says which is nearest.
        """
        if ":" in name:
            return Source("by its path", name)
        sources = self.sources()
        if name not in sources:
            kinds = f"{self.kind}s".replace("ys", "ies")
            remedy = suggest(name, sources, what=f"registered {kinds}") + self.hint
            raise SettingsError(f"unknown {self.kind} '{name}'", where=where, remedy=remedy)
        return sources[name]


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Those that can be found on this path; finding them reads a file of every installed package."""
    return entry_points(group=group)


def _find_object(path: str, where: str) -> Any:
    name, _, attribute = path.partition(":")
    if name.endswith(".py"):
        remedy = f"write it as {Path(name).stem}:{attribute}, and run from the folder that holds it"
        raise SettingsError(f"'{path}' names a file", where=where, remedy=remedy)
    if not all(part.isidentifier() for part in [*name.split("."), *attribute.split(".")]):
        raise SettingsError(f"'{path}' is not the path of a class", where=where, remedy=_FORM)
    module = _import(name) or _import(name, Path.cwd())
    if module is None:
        message = f"there is no module '{name}' for '{path}', neither installed nor in {Path.cwd()}"
        remedy = "install its package (on a cluster: into the stages' image), or run from the folder that holds it"
        raise SettingsError(message, where=where, remedy=remedy)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            message = f"there is no '{attribute}' in {name} ({getattr(module, '__file__', 'a namespace package')})"
            names = [one for one, value in getattr(found, "__dict__", {}).items() if callable(value) and one[0] != "_"]
            raise SettingsError(message, where=where, remedy=suggest(part, names, what=f"names in {name}"))
        found = getattr(found, part)
    return found


def _import(name: str, folder: Path | None = None) -> ModuleType | None:
    """The module, None if it, or a package above it, is not there; one that it lacks itself is its own error.

    A folder is looked in last, so that it hides no installed package.
    """
    if folder and str(folder) not in sys.path:
        sys.path.append(str(folder))
    invalidate_caches()
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        raise
