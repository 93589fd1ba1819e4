"""SIGTERM as a request: a node that is about to go tells its processes so, and leaves them some seconds. So is Ctrl-C.

A process that is the first of its container, or that a person started, is told so: those of a TrainJob's nodes, and of
a run on one machine. A task of Kubeflow's may not be, as Argo's and Kubeflow's programs stand between the signal and
its process: it is then killed, and what it has done since its last checkpoint (training.checkpoint_every) is lost.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def when_asked_to_end(act: Callable[[], None], then: signal.Handlers) -> Iterator[None]:
    """Within the block a first SIGTERM or SIGINT calls `act` instead of ending the process.

    Only the main thread can be told of signals; elsewhere they keep their meaning.

    Args:
        act: may raise, which ends the block.
        then: what further ones do: SIG_DFL, end the process, or SIG_IGN, nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, then)
        act()

    before = [signal.signal(one, handle) for one in _SIGNALS]
    try:
        yield
    finally:
        for one, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(one, handler)
