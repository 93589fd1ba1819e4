"""When a schedule runs: Kubeflow's six-field cron expressions and intervals, checked before they are sent."""

from __future__ import annotations

import re
from typing import NamedTuple

from advantageflow.errors import SettingsError


class _Field(NamedTuple):
    """One of a cron expression's fields: its range, and the names that its numbers have."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),
)
_ORDER = "second minute hour day-of-month month day-of-week, as in '0 0 3 * * mon' (Mondays at 3:00 UTC)"
_PART = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")
_INTERVAL = re.compile(r"(?P<count>[1-9][0-9]{0,8})(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def check_cron(expression: str) -> str:
    """A cron expression as Kubeflow reads it, with single spaces.

    Raises:
        SettingsError: it has not six fields, or one of them is wrong; says which.
    """
    where = f"--cron '{expression}'"
    fields = expression.split()
    if len(fields) == 5:
        remedy = (
            f"put the second first, as in '0 {' '.join(fields)}'; with five fields Kubeflow takes minutes for seconds"
        )
        raise SettingsError("has five fields where Kubeflow has six", where=where, remedy=remedy)
    if len(fields) != len(_FIELDS):
        raise SettingsError(f"has {len(fields)} fields, not six", where=where, remedy=f"write {_ORDER}")
    for text, field in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            _check_part(part, field, where)
    return " ".join(fields)


def interval_seconds(text: str) -> int:
    """The seconds of an interval such as 6h.

    Raises:
        SettingsError: it is no interval.
    """
    parsed = _INTERVAL.fullmatch(text.strip())
    if parsed is None:
        remedy = "write a number and s, m, h or d, as in --every 6h"
        raise SettingsError("is no interval", where=f"--every '{text}'", remedy=remedy)
    return int(parsed["count"]) * _SECONDS[parsed["unit"]]


def interval_text(seconds: int) -> str:
    """An interval as interval_seconds reads it, in the largest unit that it is a multiple of."""
    unit = max((unit for unit, size in _SECONDS.items() if seconds % size == 0), key=_SECONDS.__getitem__)
    return f"{seconds // _SECONDS[unit]}{unit}"


def _check_part(part: str, field: _Field, where: str) -> None:
    parsed = _PART.fullmatch(part)
    if parsed is None:
        raise _wrong(f"'{part}' is no {field.name}", field, where)
    first, last = (_number(parsed[end], field, where) for end in ("first", "last"))
    if first is not None and last is not None and first > last:
        raise _wrong(f"the range {part} of the {field.name} goes backwards", field, where)
    if parsed["step"] is not None and int(parsed["step"]) == 0:
        raise _wrong(f"the step of the {field.name} is 0", field, where)


def _number(text: str | None, field: _Field, where: str) -> int | None:
    if text is None:
        return None
    if text.lower() in field.names:
        return field.lowest + field.names.index(text.lower())
    if not text.isdecimal() or not field.lowest <= int(text) <= field.highest:
        raise _wrong(f"'{text}' is no {field.name}", field, where)
    return int(text)


def _wrong(message: str, field: _Field, where: str) -> SettingsError:
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    remedy = f"give {field.lowest} to {field.highest}{names}, *, a list or a range; the order is {_ORDER}"
    return SettingsError(message, where=where, remedy=remedy)
