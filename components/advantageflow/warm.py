"""Warm workers, seen from outside: starting the template process, and running a function in a worker forked from it.

Importing torch, diffusers and peft costs seconds of CPU in every fresh process. The template has them imported, runs
nothing, starts no threads and leaves CUDA's driver alone, so that a fork of it is a process as good as new: it computes
what a cold one would. Where the driver was initialised all the same, the task's own process does the work.

A task sends the template its standard output and error, working directory and environment over a unix socket, and gets
the worker's exit status back. A worker dies with its task; the template, with the process that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from advantageflow.errors import UserError

WARM_ENV = "ADVANTAGEFLOW_WARM"
PRELOADED = (
    "pyarrow.parquet",
    "pyarrow.pandas_compat",  # pyarrow imports pandas when it first makes a table
    "pandas",
    "PIL.ImageDraw",
    "PIL.ImageFont",
    "PIL.PngImagePlugin",
    "safetensors.torch",
    "torch",
    "diffusers.models.transformers.transformer_sd3",
    "diffusers.models.autoencoders.autoencoder_kl",
    "peft",
    "advantageflow.policy.adapters",
    "advantageflow.policy.generate",
    "advantageflow.policy.loading",
    "advantageflow.policy.text",
    "advantageflow.prompts.stage",
    "advantageflow.rollout.stage",
    "advantageflow.training.train",
    "advantageflow.evaluation.stage",
)
# numpy's BLAS and Arrow's allocator each start a thread at import; a process with threads does not fork cleanly.
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
# diffusers asks for GPUs at import. By default torch answers through CUDA's driver, after which no fork can use a GPU;
# with this it asks NVML, which initialises no driver (torch.cuda.is_available and device_count).
NO_DRIVER = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}

_LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 107


class WarmError(UserError):
    """The warm template or a worker of it is gone."""


def run_in_worker(path: Path, target: str, arguments: dict[str, Any]) -> int:
    """Call `target` in a worker forked from the template that listens at `path`, and wait for its end.

    The worker has this process's working directory, environment, standard output and error; it is killed if this
    process ends first.

    Args:
        path: the template's socket.
        target: what to call, as 'package.module:function'.
        arguments: its keyword arguments, JSON-able.

    Returns:
        The worker's exit status.

    Raises:
        WarmError: no template listens there, or the worker was killed.
    """
    request = {"target": target, "arguments": arguments, "cwd": os.getcwd(), "env": dict(os.environ)}
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(path))
            socket.send_fds(connection, [b" "], [1, 2])
            connection.sendall(json.dumps(request).encode() + b"\n")
            status = connection.makefile().read()
    except OSError as error:
        remedy = f"see warm.log in the run's logs, then run again with --resume; or unset {WARM_ENV}"
        message = f"the template of warm workers does not answer: {error}"
        raise WarmError(message, where=str(path), remedy=remedy) from error
    if not status:
        remedy = (
            "often memory ran out: use smaller batches or fewer shards, then --resume; see warm.log in its logs too"
        )
        raise WarmError("the worker process was killed, or the template that forks it", where=target, remedy=remedy)
    return int(status)


class WarmTemplate:
    """A running template: `with WarmTemplate() as template:`; tasks find it by `template.environment`.

    Starting does not wait: tasks that come while the template still imports queue on its socket.

    Args:
        log: file for what the template itself prints; this process's standard error when None.
        preload: modules to import.
    """

    def __init__(self, log: Path | None = None, preload: Sequence[str] = PRELOADED) -> None:
        self._log = log
        self._preload = preload

    @staticmethod
    def supported() -> bool:
        """Whether this system has what warm workers need (Linux); elsewhere stages run in their own processes."""
        return sys.platform == "linux"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that send a task's stage to this template."""
        return {WARM_ENV: str(self.socket)}

    @property
    def process_id(self) -> int:
        """The template's process id."""
        return self._process.pid

    def __enter__(self) -> WarmTemplate:
        self._folder = _socket_folder()
        self.socket = self._folder / "warm.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, contextlib.ExitStack() as files:
            listener.bind(str(self.socket))
            listener.listen(128)
            log = files.enter_context(self._log.open("ab")) if self._log else None
            arguments = (os.getpid(), listener.fileno(), ",".join(self._preload))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "advantageflow.warm_template", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                env={**os.environ, **NO_THREADS, **NO_DRIVER},
                start_new_session=True,  # Ctrl-C is for the tasks; the template and its workers end with this block
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _socket_folder() -> Path:
    """A private folder whose path is short enough for a socket; not the working folder, which may be on a network."""
    folder = tempfile.mkdtemp(prefix="advantageflow-")
    if len(os.fsencode(folder)) + len("/warm.sock") > _LONGEST_SOCKET_PATH:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="advantageflow-", dir="/tmp")
    return Path(folder)
