"""SIGTERM as a request: a node that is about to go tells its processes so, and leaves them some seconds. So are
Ctrl-C and a terminal that closes.

A process that is the first of its container, or that a person started, is told so: those of a TrainJob's nodes, and of
a run on one machine. A task of Kubeflow's may not be, as Argo's and Kubeflow's programs stand between the signal and
its process: it is then killed, and what it has done since its last checkpoint (training.checkpoint_every) is lost.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def when_asked_to_end(act: Callable[[], None], then: signal.Handlers) -> Iterator[None]:
    """Within the block a first SIGTERM, SIGINT or SIGHUP calls `act` instead of ending the process.

    One that is ignored stays so, as with nohup. Only the main thread can be told of signals; elsewhere they keep their
    meaning.

    Args:
        act: may raise, which ends the block.
        then: what further ones do: SIG_DFL, end the process, or SIG_IGN, nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, then)
        act()

    before = {one: signal.getsignal(one) for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN}
    for one in before:
        signal.signal(one, handle)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
