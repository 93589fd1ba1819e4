"""When this process started, which is the zero of a task's overhead, and the memory that it took."""

from __future__ import annotations

import os
import resource
import sys
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


def peak_memory() -> dict[str, int]:
    """`peak_memory`: bytes that this process, or one that it started, held at most; `gpu_peak_memory`: of its GPU."""
    held = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    found = {"peak_memory": held * (1 if sys.platform == "darwin" else 1024)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found["gpu_peak_memory"] = int(torch.cuda.max_memory_allocated())
    return found
