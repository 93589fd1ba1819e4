"""Ending a process together with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

_SECONDS_BEFORE_TELLING = 2.0
_SECONDS_TO_DIE = 5.0  # of what is killed outright


def end_group(process: subprocess.Popen[bytes], patience: float, tell: Callable[[], None]) -> None:
    """End the group of a process that leads one, unless it came to a good end.

    The leader's own end says nothing of the others: those are waited for too, as a training writes its checkpoint, and
    killed after `patience` seconds. An interrupt meanwhile kills them at once. `tell` is called where it takes longer
    than a moment.
    """
    if process.poll() == 0:
        return
    gone = False
    try:
        _signal(process.pid, signal.SIGTERM)
        gone = _gone(process, min(patience, _SECONDS_BEFORE_TELLING))
        if not gone and patience > _SECONDS_BEFORE_TELLING:
            tell()
            gone = _gone(process, patience - _SECONDS_BEFORE_TELLING)
    finally:
        if not gone:
            _signal(process.pid, signal.SIGKILL)
            _gone(process, _SECONDS_TO_DIE)


def _gone(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait until no process of the group is left; whether that came to be."""
    until = time.monotonic() + seconds
    while True:
        process.poll()  # a leader that nobody has asked after stays in its group
        if not _signal(process.pid, 0):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.02)


def _signal(group: int, sign: int) -> bool:
    """Send a signal to a group; whether there was anyone (macOS forbids it where all have ended)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sign)
        return True
    return False
