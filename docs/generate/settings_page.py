"""The page of all settings, from their types: name, type, default and meaning of every value a preset may hold."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from advantageflow.objectives.base import Objective
from advantageflow.objectives.registry import BUILT_IN, OBJECTIVES
from advantageflow.problems import allowed
from advantageflow.settings import RunSettings

INTRODUCTION = """# Settings

A preset, or a file given with `--config`, is a YAML file of these; `--set section.name=value` changes one. A value that
is left out takes its default; a name that does not exist is refused. `advantageflow presets show NAME` prints a whole
preset.
"""


def page() -> str:
    """The page's Markdown."""
    return "\n".join([INTRODUCTION, *_section("", RunSettings)])


def _section(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """A table of the values, then a section for each group of values in them."""
    if prefix:
        yield f"## {prefix}\n"
        yield f"{(model.__doc__ or '').strip()}\n"
    yield from _table(prefix, model)
    for name, field in model.model_fields.items():
        for variant in _models(field.annotation):
            where = f"{prefix}.{name}" if prefix else name
            yield from _section(where + _chosen_by(variant), variant)


def _chosen_by(variant: type[BaseModel]) -> str:
    """What tells a variant of a section from the others: an objective's name."""
    return f" ({variant.model_fields['name'].default})" if issubclass(variant, Objective) else ""


def _table(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    plain = {name: field for name, field in model.model_fields.items() if not _models(field.annotation)}
    if not plain:
        return
    where = prefix.partition(" (")[0]
    yield "| setting | type | default | meaning |\n|---|---|---|---|"
    for name, field in plain.items():
        setting, type_ = f"`{where + '.' if where else ''}{name}`", allowed(field.annotation, field.metadata)
        cells = (setting, type_, _default(field), field.description or "")
        yield "| " + " | ".join(cell.replace("|", "&#124;").replace("\n", " ") for cell in cells) + " |"
    yield ""


def _models(annotation: Any) -> list[Any]:
    """The kinds of settings that a value may be, alone or in a union; none for a plain value."""
    if annotation is Objective:
        return [OBJECTIVES.source(name, "").load("") for name in BUILT_IN]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (Union, types.UnionType, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in _models(part)]
    return []


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"
