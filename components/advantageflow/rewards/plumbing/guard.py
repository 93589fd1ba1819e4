"""Rewards that are not built in, each in a process of its own: one that hangs, grows or ends is ended and named."""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from advantageflow import errors
from advantageflow.errors import RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, RewardStopped

WORKER = "advantageflow.rewards.plumbing.guard_worker"
_LOOK = 0.1  # seconds between two looks at its memory
_SHARE = 0.8  # of the memory that is free as it starts, where that is less than the bound
_LARGEST_REPLY = 500_000_000  # bytes
_GB = 1e9


class GuardedReward:
    """A reward that lives in a process of its own, held to limits.

    Args:
        name, options, term: as get_reward's.
        timeout: seconds that it may take for a batch, or to be made.
        memory_gb: resident memory that its process may take.

    Raises:
        SettingsError, RewardError: as get_reward.
        RewardStopped: it could not be made within the limits.
    """

    def __init__(self, name: str, options: Mapping[str, Any], *, term: str, timeout: float, memory_gb: float) -> None:
        self.name: str = name
        self._timeout, self._most_memory = timeout, min(memory_gb * _GB, _SHARE * _free_memory())
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, sys.path))
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - a list of arguments, without a shell
                [sys.executable, "-P", "-m", WORKER, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        self._connection = Connection(ours.detach())
        self._end = weakref.finalize(self, _end, self._process, self._connection)
        made = self._ask("make", name, dict(options), term)
        self.name = made["name"]
        self.columns = {column: (float(low), float(high)) for column, (low, high) in made["columns"].items()}
        self.higher_is_better: bool = made["higher_is_better"]
        self.reads_any: bool = made["reads_any"]
        if made["headline"]:
            self.headline: str = made["headline"]

    @cached_property
    def version(self) -> str:
        """As the reward says; a learned one loads its weights for it."""
        return str(self._ask("version"))

    @cached_property
    def unloaded_version(self) -> str:
        """The version as far as it is known before anything is scored."""
        return str(self._ask("planned_version"))

    def check(self, prompt: Prompt) -> None:
        """As Reward.check."""
        self._ask("check", prompt)

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """As Reward.score; the results are checked already."""
        return self.score_samples(prompts, images, [str(number) for number in range(len(images))])

    def score_samples(
        self, prompts: Sequence[Prompt], images: Sequence[np.ndarray], samples: Sequence[str]
    ) -> list[Result]:
        """As checks.score_images."""
        where = f"samples {samples[0]} .. {samples[-1]}" if len(samples) > 1 else f"sample {samples[0]}"
        given = self._ask("score", list(prompts), list(images), list(samples), place=where)
        return [(values, details) for values, details in given]

    def _ask(self, what: str, *arguments: Any, place: str = "") -> Any:
        """What the process answers.

        Raises:
            UserError: its own.
            RewardStopped: it gave no answer within the limits.
        """
        where = ", ".join(filter(None, [f"reward '{self.name}'", place]))
        ends = time.monotonic() + self._timeout
        try:
            self._connection.send((what, arguments))
            while not self._connection.poll(_LOOK):
                if time.monotonic() > ends:
                    message = f"gave no answer within {self._timeout:g} s"
                    raise self._stopped(message, "reward.timeout", where)
                if _memory(self._process.pid, self._most_memory) > self._most_memory:
                    message = f"took more than {self._most_memory / _GB:.3g} GB of memory"
                    raise self._stopped(message, "reward.memory_gb", where)
            answer = json.loads(self._connection.recv_bytes(_LARGEST_REPLY))
        except (EOFError, OSError) as error:
            raise self._stopped(f"ended its process ({self._how()})", "", where) from error
        if "error" in answer:
            kind, message, its_place, remedy = answer["error"]
            raise getattr(errors, kind, RewardError)(message, where=its_place or where, remedy=remedy)
        return answer["value"]

    def _stopped(self, message: str, setting: str, where: str) -> RewardStopped:
        self._end()
        remedy = "mend the reward, then go on with --resume"
        remedy += f"; a new run may raise {setting}" if setting else ""
        return RewardStopped(message, where=where, remedy=remedy)

    def _how(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_LOOK)
            if code >= 0:
                return f"exit status {code}"
            why = ", as the system does where memory runs out" if code == -signal.SIGKILL else ""
            return f"killed by {signal.Signals(-code).name}{why}"
        return "it closed its connection"


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    """End the process and what it started."""
    connection.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)


def _memory(pid: int, most: float) -> int:
    """Bytes of resident memory of a process and those it started; 0 where the system does not say.

    Pages that they share count for each; only beyond `most`, for that takes longer to find out, once.
    """
    family = [pid]
    for one in family:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                family += map(int, (task / "children").read_text().split())
    resident = sum(_number(f"/proc/{one}/status", "VmRSS:") for one in family)
    if len(family) == 1 or resident <= most:
        return resident
    return sum(_number(f"/proc/{one}/smaps_rollup", "Pss:") for one in family)


def _number(file: str, name: str) -> int:
    """Bytes that a file of the system says in kB under this name; 0 if it does not."""
    with contextlib.suppress(OSError, LookupError, ValueError):
        return 1024 * int(Path(file).read_text().partition(name)[2].split()[0])
    return 0


def _free_memory() -> float:
    """Bytes of memory that can be had on this machine, and in this container; inf where the system does not say."""
    free = _number("/proc/meminfo", "MemAvailable:") or math.inf
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        free = min(free, float((group / "memory.max").read_text()) - float((group / "memory.current").read_text()))
    return free
