"""An interrupt ends a run's process within seconds, also where Python's own would be lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.fault

_RUN = """
import contextlib, signal, time
for sign in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):  # as at a terminal, also where tests run behind nohup
    signal.signal(sign, signal.default_int_handler if sign == signal.SIGINT else signal.SIG_DFL)
from advantageflow_pipelines.local.interrupts import INTERRUPTS

def swallow():
    print("begun", flush=True)
    for _ in range(600):
        try:
            time.sleep(0.1)
        except BaseException:
            print("lost", flush=True)
            return

class Doomed:
    def __del__(self):
        time.sleep(600)

def in_a_destructor():
    print("begun", flush=True)
    doomed = Doomed()
    del doomed

def taken_for_a_failure():
    print("begun", flush=True)
    try:
        time.sleep(600)
    except BaseException as error:
        raise RuntimeError("a library's") from None

def closing():
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            print("begun", flush=True)
            time.sleep(600)

with INTERRUPTS.end_within(0.1, "an earlier run's"):
    pass
with INTERRUPTS.end_within({patience}, "last words"):
    try:
        if {work} is closing:
            closing()
        with INTERRUPTS.work():
            {work}()
            time.sleep(600)
    except KeyboardInterrupt:
        print("ended by itself", flush=True)
        raise SystemExit(130)
"""


@pytest.mark.parametrize(
    ("work", "sign", "patience", "said"),
    [
        ("swallow", signal.SIGINT, 60, "ended by itself"),
        ("in_a_destructor", signal.SIGTERM, 60, "ended by itself"),
        ("taken_for_a_failure", signal.SIGHUP, 60, "ended by itself"),
        ("closing", signal.SIGTERM, 0.5, "last words"),
    ],
)
def test_no_interrupt_is_lost(work: str, sign: signal.Signals, patience: float, said: str) -> None:
    command = [sys.executable, "-c", _RUN.format(work=work, patience=patience)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.1)
        process.send_signal(sign)
        try:
            output, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130
    assert output.splitlines()[-1] == said
    assert "wakeup fd" not in errors


def test_a_debugger_that_a_stage_calls_is_left_alone() -> None:
    code = (
        "from unittest.mock import Mock\n"
        "from advantageflow_pipelines.local.inline import _reachable\n"
        "from advantageflow_pipelines.local.interrupts import INTERRUPTS\n"
        "with INTERRUPTS.end_within(0.1, 'last words'), INTERRUPTS.work(), _reachable(Mock()):\n"
        "    breakpoint()\n"
        "print('went on')\n"
    )
    typed = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(1.5)\n6 * 7\nc\n"
    done = subprocess.run([sys.executable, "-c", code], input=typed, capture_output=True, text=True, check=False)
    assert (done.returncode, "42" in done.stdout, "went on" in done.stdout) == (0, True, True), done.stderr
