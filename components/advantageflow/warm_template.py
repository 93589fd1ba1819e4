"""Warm workers, seen from inside: the process that forks them, started as `python -m advantageflow.warm_template`.

It imports the heavy packages, then forks a worker for each connection; the worker itself says how it ended.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from advantageflow.lifeline import end_with_parent


def main(parent: int, descriptor: int, modules: str) -> NoReturn:
    """Import packages, then serve for as long as the parent lives.

    Args:
        parent: process id of who started this.
        descriptor: a listening unix socket, inherited.
        modules: to import, separated by commas.
    """
    end_with_parent(parent)
    for module in modules.split(","):
        import_module(module)
    threads = [Path(f"/proc/self/task/{thread}/comm").read_text().strip() for thread in os.listdir("/proc/self/task")]
    if len(threads) > 1:
        print(f"warning: an imported package started threads ({', '.join(threads)})", file=sys.stderr, flush=True)
    gc.collect()
    gc.freeze()  # keeps the imported objects' memory shared with the workers
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the workers
    template, listener = os.getpid(), socket.socket(fileno=descriptor)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _work(template, connection)
        connection.close()


def _work(template: int, connection: socket.socket) -> NoReturn:
    """The life of a worker: read the request, become the task's stand-in, call the target, tell the status, exit."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.setpgid(0, 0)  # so that what it starts can be killed with it
        end_with_parent(template)
        request = _receive(connection)
        threading.Thread(target=_end_with_task, args=(connection,), daemon=True).start()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        module, _, function = request["target"].partition(":")
        getattr(import_module(module), function)(**request["arguments"])
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # also when nobody reads any more
            connection.sendall(str(status).encode())
            os._exit(status)  # the template's clean-up is not the worker's


def _receive(connection: socket.socket) -> dict[str, Any]:
    """Read a request; the descriptors that come with it become standard output and error."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 2)
    for standard, descriptor in zip((1, 2), descriptors, strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    return dict(json.loads(connection.makefile().readline()))


def _end_with_task(connection: socket.socket) -> None:
    """Wait for the task to hang up, and kill this worker and what it started."""
    connection.recv(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
