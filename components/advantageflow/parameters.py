"""A pipeline's typed parameters: single settings that change from run to run, in place of a section's own values."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from advantageflow.errors import SettingsError
from advantageflow.problems import problems_of, to_error
from advantageflow.suggestions import suggest
from advantageflow.yaml_text import parse_yaml

Section = TypeVar("Section", bound=BaseModel)
Path = tuple[str, ...]


def locate(section: BaseModel, name: str) -> Path | None:
    """Where the setting of this name is: in the section itself, else in the sections within it; None if nowhere."""
    level: list[tuple[Path, BaseModel]] = [((), section)]
    while level:
        for path, one in level:
            if name in type(one).model_fields:
                return (*path, name)
        level = [((*path, key), value) for path, one in level for key, value in one if isinstance(value, BaseModel)]
    return None


def field_and_value(section: BaseModel, path: Path) -> tuple[FieldInfo, Any]:
    """The field at a path of `locate`, and its value."""
    for key in path[:-1]:
        section = getattr(section, key)
    return type(section).model_fields[path[-1]], getattr(section, path[-1])


def kind_of(field: FieldInfo) -> type[bool | int | float | str]:
    """The type of a parameter for this field: bool, int or float where it holds nothing else, text for all the rest."""
    kinds: tuple[type[bool], type[int], type[float]] = (bool, int, float)
    return next((kind for kind in kinds if field.annotation is kind), str)


def as_parameter(field: FieldInfo, value: Any) -> bool | int | float | str:
    """The value as a parameter of the field's kind carries it: text as `with_parameters` reads it, null as ''."""
    return kind_of(field)("" if value is None else value)


def with_parameters(section: Section, parameters: Mapping[str, Any]) -> Section:
    """The section with the values of a pipeline's parameters, each in place of the setting that has its name.
    Raises SettingsError: the section has no such setting, or a value is not allowed there.

    Numbers come as a pipeline carries them (whole ones also as floats). A text for a setting that holds more than text
    is read as YAML, as `--set` reads it; '' is null.
    """
    for name, value in parameters.items():
        path = locate(section, name)
        if path is None:
            remedy = suggest(name, type(section).model_fields, what="settings")
            raise SettingsError(f"these settings have no '{name}'", where=f"parameter {name}", remedy=remedy)
        section = _replaced(section, path, value, ".".join(path))
    return section


def _replaced(section: Section, path: Path, value: Any, whole: str) -> Section:
    """The section, checked as settings are, with another value at a path."""
    key, *rest = path
    kind = type(section)
    if rest:
        new = _replaced(getattr(section, key), tuple(rest), value, whole)
    else:
        new = _read(kind.model_fields[key], value, whole)
    values = {name: getattr(section, name) for name in section.model_fields_set} | {key: new}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise to_error(problems_of(error, kind, {key: f"parameter {path[-1]}"})) from error


def _read(field: FieldInfo, value: Any, whole: str) -> Any:
    if field.annotation is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str) or field.annotation is str:
        return value
    if not value:
        return None
    return value if str in get_args(field.annotation) else parse_yaml(value, f"parameter {whole}")[0]
