"""When this process started: the zero of a task's overhead."""

from __future__ import annotations

import os
import time

_IMPORTED_AT = time.time()
_STARTTIME_FIELD = 19  # field 22 of /proc/<pid>/stat, counted from the one after the command name


def process_started() -> float:
    """Epoch seconds at which the operating system started this process (resolution: one clock tick, 10 ms).

    Where there is no /proc, the time at which this module was imported.
    """
    try:
        with open("/proc/self/stat", encoding="utf-8") as stat:
            ticks = int(stat.read().rpartition(")")[2].split()[_STARTTIME_FIELD])
    except OSError:
        return _IMPORTED_AT
    since_boot = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
