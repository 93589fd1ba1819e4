"""A process that ends with the one that started it, however that ends (Linux; elsewhere it may outlive it)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int | None = None, sign: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent is gone; end it now where that is so already.

    Args:
        parent: process id of the parent, as that one told it; None where it did not: then whoever is the parent now
            counts, and one that went before this call goes unnoticed.
        sign: how it is ended.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, sign)
    if parent is not None and os.getppid() != parent:  # it went before the kernel was asked, which then says nothing
        os.kill(os.getpid(), sign)
