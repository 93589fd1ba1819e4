"""Warm workers, seen from inside: `python -m advantageflow.warm_template`, the process that forks them.

It imports the heavy packages, then forks a worker for each connection and tells the task how the worker ended.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from advantageflow.lifeline import end_with_parent
from advantageflow.warm import HEADER, WorkerEnd

_LIFELINE = 0  # standard input: closed when the process that started this one is gone


def main() -> None:
    """Import the packages, then serve until standard input closes."""
    parser = argparse.ArgumentParser(description="template process that forks warm stage workers")
    parser.add_argument("--listen-fd", type=int, required=True, help="a listening unix socket, inherited")
    parser.add_argument("--preload", required=True, help="modules to import, separated by commas")
    arguments = parser.parse_args()
    for module in arguments.preload.split(","):
        import_module(module)
    threads = [Path(f"/proc/self/task/{thread}/comm").read_text().strip() for thread in os.listdir("/proc/self/task")]
    if len(threads) > 1:
        print(f"warning: an imported package started threads ({', '.join(threads)})", file=sys.stderr, flush=True)
    gc.collect()
    gc.freeze()  # keeps the imported objects' memory shared with the workers
    _Server(socket.socket(fileno=arguments.listen_fd)).serve()


class _Server:
    """Forks a worker for each connection and tells it how the worker ended; never waits for one of them."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._workers: dict[int, socket.socket] = {}  # connection by worker's process id
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler is what makes the wake-up descriptor work
        signal.set_wakeup_fd(wake)
        self._poll = select.poll()
        for descriptor in (_LIFELINE, listener.fileno(), self._woken):
            self._poll.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        """Serve until the lifeline closes, then kill what still runs."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == _LIFELINE:
                    for worker in self._workers:
                        _kill(worker)
                    return
                if descriptor == self._listener.fileno():
                    self._start_worker()
                elif descriptor == self._woken:
                    os.read(self._woken, 4096)
                    self._reap()
                else:
                    self._abandon(descriptor)

    def _start_worker(self) -> None:
        connection, _ = self._listener.accept()
        template, worker = os.getpid(), os.fork()
        if worker == 0:
            _work(template, connection, [self._listener, *self._workers.values()])
        self._workers[worker] = connection
        self._poll.register(connection, select.POLLRDHUP)

    def _abandon(self, descriptor: int) -> None:
        """The task is gone: its worker goes too (and is reaped when it has)."""
        for worker, connection in self._workers.items():
            if connection.fileno() == descriptor:
                self._poll.unregister(descriptor)
                _kill(worker)

    def _reap(self) -> None:
        while self._workers:
            worker, status = os.waitpid(-1, os.WNOHANG)
            if worker == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            outcome = WorkerEnd(max(code, 0), -code if code < 0 else None)
            with self._workers.pop(worker) as connection:
                try:
                    self._poll.unregister(connection)
                    connection.sendall(json.dumps(vars(outcome)).encode())
                except (KeyError, OSError):
                    pass  # the task is gone, nobody waits for the outcome


def _work(template: int, connection: socket.socket, of_template: list[socket.socket]) -> NoReturn:
    """The life of a worker: leave the template, read the request, become the task's stand-in, call the target, exit."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for inherited in of_template:
            inherited.close()
        os.dup2(os.open(os.devnull, os.O_RDONLY), _LIFELINE)
        os.setpgid(0, 0)  # so that what it starts can be killed with it
        end_with_parent(template)
        with connection:
            request = _receive(connection)
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
            os._exit(status)  # the template's clean-up is not the worker's


def _receive(connection: socket.socket) -> dict[str, Any]:
    """Read a request; its two descriptors become standard output and error."""
    header, descriptors, _, _ = socket.recv_fds(connection, HEADER.size, 2)
    for standard, descriptor in zip((1, 2), descriptors, strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    body = connection.recv(HEADER.unpack(header)[0], socket.MSG_WAITALL)
    return dict(json.loads(body))


def _kill(worker: int) -> None:
    try:
        os.killpg(worker, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(worker, signal.SIGKILL)  # it has not made its process group yet; unreaped, so the id is still its own


if __name__ == "__main__":
    main()
