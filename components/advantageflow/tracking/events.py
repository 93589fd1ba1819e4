"""Events as the journal's files hold them: where those go, and reading them, at once or as they are being written."""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

JOURNAL_ENV = "ADVANTAGEFLOW_JOURNAL"
TRACKING_ENV = "MLFLOW_TRACKING_URI"

_SETTLED = 2 * 10**9  # ns after a folder's last change from which on its time tells of the next one

Event = dict[str, Any]


def read_events(folder: Path) -> list[Event]:
    """Every event of a journal folder in order of time; half-written and damaged lines are left out."""
    reader = _Folder(folder)
    return sorted(reader.new_events(), key=lambda event: event["time"])


def tail(folder: Path, stop: threading.Event, *, interval: float = 0.2) -> Iterator[Event]:
    """Yield events as tasks write them, until `stop` is set and everything written before has been read.

    The folder may not exist yet; it is looked at every `interval` seconds.
    """
    reader = _Folder(folder)
    while True:
        last = stop.is_set()
        yield from sorted(reader.new_events(), key=lambda event: event["time"])
        if last:
            return
        stop.wait(interval)


def run_curves(events: Iterable[Event]) -> dict[str, dict[int, float]]:
    """The curves of the whole run: by name of the metric, value by step (the round); the latest of equal steps."""
    curves: dict[str, dict[int, float]] = {}
    for event in events:
        if event["event"] == "metrics" and event["parent"] and event["step"] is not None:
            for name, value in event["values"].items():
                curves.setdefault(name, {})[event["step"]] = value
    return curves


class _Folder:
    """Remembers how far each journal file has been read, and which ones are still written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._ended: set[str] = set()
        self._open: list[str] = []
        self._changed = 0

    def new_events(self) -> list[Event]:
        events = []
        for name in self._names():
            new = [event for line in self._new_lines(self._folder / name) if (event := _parse(line)) is not None]
            events += new
            self._ended |= {name} if any(event["event"] == "end" for event in new) else set()
        return events

    def _names(self) -> list[str]:
        """Of a long run's thousands of files the few that are written to; listed anew where there may be another."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed != self._changed or changed > time.time_ns() - _SETTLED:
            self._changed = changed
            self._open = sorted(name for name in os.listdir(self._folder) if name.endswith(".jsonl"))
        self._open = [name for name in self._open if name not in self._ended]
        return self._open

    def _new_lines(self, path: Path) -> list[bytes]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            text = file.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(complete)
        return complete.splitlines()


def _parse(line: bytes) -> Event | None:
    """The event of a line; None where a task was killed or the disk was full before the line was whole."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(event, dict) and isinstance(event.get("time"), int | float)
    return event if known and isinstance(event.get("event"), str) and isinstance(event.get("task"), str) else None
