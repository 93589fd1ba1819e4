"""SIGTERM as a request: a node that is about to go tells its processes so, and leaves them some seconds.

A process that is the first of its container, or that a person started, is told so: those of a TrainJob's nodes, and of
a run on one machine. A task of Kubeflow's may not be, as Argo's and Kubeflow's programs stand between the signal and
its process: it is then killed, and what it has done since its last checkpoint (training.checkpoint_every) is lost.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether this process was asked to end.

    Attributes:
        made: set when the request comes.
    """

    made = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block a first SIGTERM is noted and ends nothing; a second one ends the process.

    Only the main thread can be told of signals; elsewhere they keep their meaning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.made = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
