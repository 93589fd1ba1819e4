"""Things of one kind by name: built in, plug-ins of an entry point group, and others by their path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.plugins.class_paths import FORM, find_object
from advantageflow.suggestions import suggest


@dataclass(frozen=True)
class Source:
    """Where a thing comes from.

    Attributes:
        origin: 'built in', 'by its path', or the plug-in that brings it.
        target: its path, 'package.module:Class', or the entry point that loads it.
    """

    origin: str
    target: EntryPoint | str

    def find(self, where: str) -> Any:
        """What it names; only its own module is imported.

        Args:
            where: which setting names it, for errors.

        Raises:
            SettingsError: the path is wrong; says what there is.
            Exception: whatever importing the module raises.
        """
        # No test for EntryPoint: the importlib_metadata backport has a class of its own.
        return find_object(self.target, where=where) if isinstance(self.target, str) else self.target.load()

    def load(self, where: str) -> Callable[..., Any]:
        """Its class, or the function that makes it; takes and raises what `find` does, and refuses anything else."""
        found = self.find(where)
        if not callable(found):
            message = f"'{self.target}' is of type {type(found).__name__}, not a class"
            raise SettingsError(message, where=where, remedy=FORM)
        return found


@dataclass(frozen=True)
class Registry:
    """All things of one kind that settings can name.

    Attributes:
        kind: what one of them is called, such as 'reward'.
        group: the entry point group of plug-ins.
        built_in: path by name.
        hint: what a message about an unknown name ends with.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]
    hint: str = ""

    def sources(self) -> dict[str, Source]:
        """Every registered one by name.

        Raises:
            SettingsError: two claim one name.
        """
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
        """The one of this name, or at this path 'package.module:Class'.

        Args:
            name: what settings call it.
            where: which setting does, for errors.

        Raises:
            SettingsError: there is none of this name; says which is nearest.
        """
        if ":" in name:
            return Source("by its path", name)
        sources = self.sources()
        if name not in sources:
            remedy = suggest(name, sources, what=f"registered {self.kind}s") + self.hint
            raise SettingsError(f"unknown {self.kind} '{name}'", where=where, remedy=remedy)
        return sources[name]


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Those that can be found on this path; finding them reads a file of every installed package."""
    return entry_points(group=group)
