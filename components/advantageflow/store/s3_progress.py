"""How far a transfer to or from S3 is, told in the log, and how it is stopped."""

from __future__ import annotations

import logging
import threading

_WORTH_SHOWING = 50_000_000  # bytes from which on a transfer tells of its progress

logger = logging.getLogger(__name__)


class Cancelled(Exception):
    """The transfer was given up because another one failed."""


class Progress:
    """Counts the bytes of all files of a transfer, tells of every tenth of them, and stops them when asked to.

    Args:
        url: what is transferred.
        done: what is done to it, such as 'fetched'.
        files: how many there are.
        total: their bytes.

    Attributes:
        stop: set it, and every file's transfer ends with Cancelled.
    """

    def __init__(self, url: str, done: str, files: int, total: int) -> None:
        self.stop = threading.Event()
        self._url, self._verb, self._files, self._total, self._done, self._told = url, done, files, total, 0, 0
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        """Count bytes; fewer than none when a part is sent again.

        Raises:
            Cancelled: the transfer is to stop.
        """
        if self.stop.is_set():
            raise Cancelled
        with self._lock:
            self._done += count
            tenth = 10 * self._done // self._total if self._total >= _WORTH_SHOWING else 0
            if tenth > self._told:
                self._told = tenth
                done, total = self._done / 1e9, self._total / 1e9
                logger.info("%s: %.2f of %.2f GB %s (files: %d)", self._url, done, total, self._verb, self._files)
