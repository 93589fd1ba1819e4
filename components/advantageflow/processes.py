"""A process beside others: it ends with the one that started it (on Linux), waits asleep, and imports fast."""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int | None = None, sign: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel end this process by this signal when its parent is gone; end it now where that is so already.

    `parent` is its process id, as that one told it; None where it did not: then whoever is the parent now counts, and
    one that went before this call goes unnoticed.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, sign)
    if parent is not None and os.getppid() != parent:  # it went before the kernel was asked, which then says nothing
        os.kill(os.getpid(), sign)


def wait_asleep() -> None:
    """Have OpenMP's threads, here and in child processes, sleep while they wait; what is set already stays.

    To be called before torch is loaded. Threads that spin on a core that another process would use make a training
    wait for each thread's turn in every operation: many times as long as their share of the machine explains.
    """
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


@contextmanager
def no_collections(*, keep: bool = False) -> Iterator[None]:
    """Look for no garbage while packages are imported, which make next to none, and millions of objects to look at.

    Args:
        keep: what is there at the end stays, and is never looked at again; no model may be among it.
    """
    looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if keep:
            gc.freeze()
        if looking:
            gc.enable()
