"""When a schedule runs: Kubeflow's six-field cron expressions, and intervals."""

from __future__ import annotations

import re

from advantageflow.errors import SettingsError

_FIELDS = 6
_ORDER = "second minute hour day-of-month month day-of-week, as in '0 0 3 * * mon' (Mondays at 3:00 UTC)"
_INTERVAL = re.compile(r"(?P<count>[1-9][0-9]{0,8})(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def check_cron(expression: str) -> str:
    """A cron expression with six fields, as Kubeflow reads it, with single spaces; its server checks the fields.

    Raises:
        SettingsError: it has not six fields.
    """
    where = f"--cron '{expression}'"
    fields = expression.split()
    if len(fields) == _FIELDS - 1:
        remedy = (
            f"put the second first, as in '0 {' '.join(fields)}'; with five fields Kubeflow takes minutes for seconds"
        )
        raise SettingsError("has five fields where Kubeflow has six", where=where, remedy=remedy)
    if len(fields) != _FIELDS:
        raise SettingsError(f"has {len(fields)} fields, not six", where=where, remedy=f"write {_ORDER}")
    return " ".join(fields)


def interval_seconds(text: str) -> int:
    """The seconds of an interval such as 6h.

    Raises:
        SettingsError: it is not an interval.
    """
    parsed = _INTERVAL.fullmatch(text.strip())
    if parsed is None:
        remedy = "write a number and s, m, h or d, as in --every 6h"
        raise SettingsError("not an interval", where=f"--every '{text}'", remedy=remedy)
    return int(parsed["count"]) * _SECONDS[parsed["unit"]]


def interval_text(seconds: int) -> str:
    """An interval as interval_seconds reads it, in the largest unit that it is a multiple of."""
    unit = max((unit for unit, size in _SECONDS.items() if seconds % size == 0), key=_SECONDS.__getitem__)
    return f"{seconds // _SECONDS[unit]}{unit}"
