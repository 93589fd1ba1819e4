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
            if not _fits(part, field):
                names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
                allowed = f"{field.lowest} to {field.highest}{names}, *, a list or a rising range"
                remedy = f"give {allowed}; the order is {_ORDER}"
                raise SettingsError(f"'{part}' is not a valid {field.name}", where=where, remedy=remedy)
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


def _fits(part: str, field: _Field) -> bool:
    """Whether a part of a list is *, ?, a number, a name or a range of them, perhaps with a step."""
    parsed = _PART.fullmatch(part.lower())
    if parsed is None or (parsed["step"] and int(parsed["step"]) == 0):
        return False
    numbers = {name: field.lowest + index for index, name in enumerate(field.names)}
    numbers |= {str(number): number for number in range(field.lowest, field.highest + 1)}
    ends = [text.lstrip("0") or "0" for text in (parsed["first"], parsed["last"]) if text is not None]
    return all(end in numbers for end in ends) and sorted(ends, key=numbers.__getitem__) == ends
