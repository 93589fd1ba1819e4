"""The `advantageflow` command; Ctrl-C ends it quietly also while it loads and while Python ends."""

import gc
import os
import signal

from advantageflow_pipelines.local.interrupts import INTERRUPTED


def main() -> None:
    """Load the command, which takes a second or two, and run it."""
    handler = signal.getsignal(signal.SIGINT)
    heard = handler is signal.default_int_handler  # and not ignored, as in a background shell
    if heard:
        signal.signal(signal.SIGINT, _end)
    gc.disable()  # imports make no garbage to look for
    from advantageflow_pipelines.cli import main as run

    gc.enable()
    signal.signal(signal.SIGINT, handler)
    try:
        run()
    finally:
        if heard:
            signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
