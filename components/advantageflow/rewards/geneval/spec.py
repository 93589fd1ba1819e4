"""The form of a GenEval spec, checked field by field: what an image must include, how often, in which colour, where."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from advantageflow.errors import DataError
from advantageflow.rewards.geneval.classes import RELATIONS
from advantageflow.suggestions import suggest


def check_include(spec: Mapping[str, Any], classes: Collection[str], colors: Collection[str]) -> None:
    """Check a spec's `include`: a list of {'class', 'count', 'color'?, 'position'?: [relation, index]}.

    Args:
        spec: of a prompt.
        classes: names that a class may have.
        colors: names that a colour may have.

    Raises:
        DataError: it is not of this form; names the field, such as `include[1].color`.
    """
    include = spec.get("include")
    if not isinstance(include, list) or not include:
        raise DataError("spec has no 'include' list", remedy="give at least {'class': ..., 'count': ...}")
    for number, item in enumerate(include):
        where = f"include[{number}]"
        _check_item(item, classes, where)
        if item.get("color") is not None:
            check_name(item["color"], colors, f"{where}.color", what="colours")
        if item.get("position") is not None:
            _check_position(item["position"], number, len(include), f"{where}.position")


def check_exclude(spec: Mapping[str, Any], classes: Collection[str]) -> None:
    """Check a spec's `exclude`, if it has one: a list of {'class', 'count'}.

    Raises:
        DataError: it is not of this form; names the field.
    """
    exclude = spec.get("exclude")
    if exclude is None:
        return
    if not isinstance(exclude, list):
        raise DataError(f"{exclude!r} is not a list", where="exclude", remedy="give [{'class': ..., 'count': ...}]")
    for number, item in enumerate(exclude):
        _check_item(item, classes, f"exclude[{number}]")


def check_name(value: Any, allowed: Collection[str], where: str, *, what: str) -> None:
    """Raises DataError, with the nearest name as remedy, if the value is none of those allowed."""
    if value not in allowed:
        remedy = _nearest(value, allowed, what) if isinstance(value, str) else f"use one of the {what}"
        raise DataError(f"{value!r} is unknown among the {what} that can be judged", where=where, remedy=remedy)


def _nearest(name: str, allowed: Collection[str], what: str) -> str:
    """A remedy; COCO's 'keyboard' means 'computer keyboard', not 'skateboard', whose letters are nearer."""
    longer = [one for one in allowed if name.lower() in one.split()]
    return f"did you mean '{longer[0]}'?" if len(longer) == 1 else suggest(name, allowed, what=what)


def _check_item(item: Any, classes: Collection[str], where: str) -> None:
    if not isinstance(item, dict):
        raise DataError(f"{item!r} is not an object", where=where, remedy="give {'class': ..., 'count': ...}")
    check_name(item.get("class"), classes, f"{where}.class", what="classes")
    count = item.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise DataError(f"invalid count {count!r}: not a whole number above 0", where=where, remedy="set count")


def _check_position(position: Any, number: int, objects: int, where: str) -> None:
    if not isinstance(position, list | tuple) or len(position) != 2:
        raise DataError(f"invalid position {position!r}: not [relation, index]", where=where, remedy="mend it")
    check_name(position[0], RELATIONS, f"{where}[0]", what="relations")
    if position[1] not in range(objects) or position[1] == number:
        raise DataError(f"index {position[1]!r} names no other object", where=f"{where}[1]", remedy="mend it")
