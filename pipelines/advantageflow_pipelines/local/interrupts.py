"""Ctrl-C, a polite kill and a terminal that closes end a run within seconds, whatever its process is doing.

Python raises KeyboardInterrupt between two instructions of the main thread: not while a library computes or waits, and
to no avail in a destructor, a callback, or code that takes any exception for a failure of its own. So a run that goes
on is interrupted again, and one that does not end is cut off, as a kill may at any moment.
"""

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # what shells report for Ctrl-C
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN = 1.0  # seconds until what goes on is interrupted again
_SHOW_CURSOR = "\x1b[?25h"  # which a live display hides


class Interrupts:
    """Those of this process, see INTERRUPTS."""

    def __init__(self) -> None:
        self._asked = self._working = self._again = False
        self._left = threading.Event()

    @contextmanager
    def end_within(self, patience: float, last_words: str) -> Iterator[None]:
        """Within the block, in the main thread, the first signal is followed by its end or that of the process.

        Args:
            patience: seconds from the first signal on, after which the process is cut off with status INTERRUPTED.
        """
        if sys.gettrace() is not None:  # a debugger's person sees to it
            yield
            return
        told, tell = os.pipe()  # the C handler writes there at once, also while no Python handler can run
        os.set_blocking(tell, False)
        self._asked = self._again = False
        self._left, self._thread = threading.Event(), threading.get_ident()
        heeded = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
        before = {one: signal.signal(one, self._interrupt) for one in heeded}
        fd_before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        watched = (told, patience, last_words, self._left)
        threading.Thread(target=self._watch, args=watched, name="interrupts", daemon=True).start()
        try:
            yield
        finally:
            self.leave()
            signal.set_wakeup_fd(fd_before)
            for one, handler in before.items():
                signal.signal(one, handler)
            os.close(tell)

    def leave(self) -> None:
        """Do no more than Python does: the block ends, or a debugger's person sees to the rest."""
        self._left.set()

    @contextmanager
    def work(self) -> Iterator[None]:
        """What is interrupted until it ends; after an interrupt it can end in nothing else.
        Raises KeyboardInterrupt: this process was asked to end.
        """
        self._working = True
        try:
            yield
        except Exception as error:
            if not self._asked:
                raise
            raise KeyboardInterrupt from error
        finally:
            self._working = False
        if self._asked:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        again, self._again, self._asked = self._again, False, not self._left.is_set()
        if self._working or not again:
            raise KeyboardInterrupt

    def _watch(self, told: int, patience: float, last_words: str, left: threading.Event) -> None:
        with open(told, "rb", buffering=0) as signals:  # open to the end: Python tells of signals that it cannot write
            while not set(_SIGNALS) & set(heard := signals.read(64)):
                if not heard:  # the block has ended
                    return
            if signal.SIGHUP in heard:
                _leave_terminal()
            deadline = time.monotonic() + patience
            while not left.wait(_AGAIN):
                if time.monotonic() > deadline:
                    shown = _SHOW_CURSOR if sys.stdout.isatty() else ""
                    os.write(1, f"{shown}\n{last_words}\n".encode())  # past locks of streams that the work may hold
                    os._exit(INTERRUPTED)
                # A training that is asked to keep a checkpoint handles signals itself.
                if self._working and signal.getsignal(signal.SIGINT) == self._interrupt:
                    self._again = True
                    signal.pthread_kill(self._thread, signal.SIGINT)


INTERRUPTS = Interrupts()


def _leave_terminal() -> None:
    """Show nothing more on a terminal that is gone, where it would be an error."""
    with open(os.devnull, "wb") as nowhere:
        for stream in (1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere.fileno(), stream)
