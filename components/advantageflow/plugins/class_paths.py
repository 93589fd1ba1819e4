"""A class by its path, 'package.module:Class', installed or in the folder that the command is run in."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.suggestions import suggest

FORM = "write it as package.module:Class"


def find_object(path: str, *, where: str) -> Any:
    """Import what a path names. The current folder is looked in last, so that it hides no installed package.

    Args:
        path: 'package.module:Class'.
        where: which setting names it, for errors.

    Raises:
        SettingsError: the path is of another form, or there is no such module or class; says what there is.
        Exception: whatever importing the module raises.
    """
    name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in [*name.split("."), *attribute.split(".")]):
        raise SettingsError(f"'{path}' is not the path of a class", where=where, remedy=FORM)
    found: Any = _module(name, path, where)
    for part in attribute.split("."):
        if not hasattr(found, part):
            message = f"there is no '{attribute}' in {name} ({_file(name)})"
            raise SettingsError(message, where=where, remedy=suggest(part, _classes(found), what=f"classes of {name}"))
        found = getattr(found, part)
    return found


def _module(name: str, path: str, where: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not _is_part(error.name, name):
            raise  # the module is there, what it imports is not
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    invalidate_caches()
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not _is_part(error.name, name):
            raise
        message = f"there is no module '{error.name}' for '{path}', neither installed nor in {here}"
        remedy = "install its package (on a cluster: into the stages' image), or run from the folder that holds it"
        raise SettingsError(message, where=where, remedy=remedy) from error


def _is_part(missing: str | None, name: str) -> bool:
    """Whether the missing module is the one that was asked for, or a package above it."""
    return missing is not None and (name == missing or name.startswith(f"{missing}."))


def _classes(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if inspect.isclass(value) and not name.startswith("_")]


def _file(name: str) -> str:
    return getattr(sys.modules[name], "__file__", None) or "a namespace package"
