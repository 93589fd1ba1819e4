"""How the threads of a stage wait for each other: asleep, so that a machine that others use is left to them."""

from __future__ import annotations

import os

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def wait_asleep() -> None:
    """Have OpenMP's threads, here and in child processes, sleep while they wait; what is set already stays.

    To be called before torch is loaded. Threads that spin on a core that another process would use make a training
    wait for each thread's turn in every operation: many times as long as their share of the machine explains.
    """
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
