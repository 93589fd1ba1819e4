"""A process that shall not outlive its parent ends with it, also when the parent was the faster one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import IO

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")

CHILD = """
import os, signal, sys, time
from advantageflow.processes import end_with_parent
end_with_parent(int(sys.argv[1]) if sys.argv[1] else None, signal.Signals(int(sys.argv[2])))
print("bound", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, *sys.argv[1:]])
time.sleep(60)
"""


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def read_all(pipe: IO[str] | None) -> str:
    assert pipe is not None
    return pipe.read()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_when_its_parent_is_killed(environment: dict[str, str], sign: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, "-c", CHILD, "", str(int(sign))]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "bound\n"
        parent.kill()
        assert read_all(parent.stdout) == ""  # ends once nobody holds the pipe any more


def test_it_ends_at_once_when_its_parent_was_gone_before(environment: dict[str, str]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    command = [sys.executable, "-c", CHILD, str(gone.pid), str(int(signal.SIGKILL))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_it_goes_on_while_its_parent_does(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", CHILD, str(os.getpid()), str(int(signal.SIGKILL))]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "bound\n"
        assert child.poll() is None
        child.kill()
