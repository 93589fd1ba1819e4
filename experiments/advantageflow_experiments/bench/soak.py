"""A long run in one process: whether its memory, descriptors and threads stay, and rounds cost the same at the end."""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from advantageflow.store.files import write_json
from advantageflow_experiments.compare.style import picture
from advantageflow_pipelines.local.interrupts import INTERRUPTED

_ROUNDS = 3000  # more than there is time for
_LOOK = 5.0  # seconds between two looks
_PARTS = 10
_LABELS = {
    "memory_mb": "resident memory (MB)",
    "descriptors": "open files",
    "threads": "threads",
    "cpu_seconds": "CPU seconds a round",
}
Look = dict[str, float]


def soak(minutes: float, out: Path) -> list[str]:
    """Run preset `tiny` without end, watch its process, then interrupt it; soak.json and soak.png lie in `out`.
    Raises RuntimeError: the run ended before it was interrupted, or otherwise than an interrupted one does.

    Returns:
        A line for each tenth of the time. CPU seconds, unlike the clock's, say nothing of what else the machine does.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="advantageflow-soak-") as scratch, (out / "soak.log").open("w") as log:
        command = [
            sys.executable, "-m", "advantageflow_pipelines", "run", "--preset", "tiny", "--rounds", str(_ROUNDS),
            "--set", "evaluation.every=10", "--workdir", "run",
        ]  # fmt: skip
        run = subprocess.Popen(command, cwd=scratch, stdout=log, stderr=subprocess.STDOUT)
        looks, started = [], time.monotonic()
        while time.monotonic() < started + minutes * 60 and run.poll() is None:
            looks.append(_look(run.pid, Path(scratch) / "run" / "journal", time.monotonic() - started))
            time.sleep(_LOOK)
        run.send_signal(signal.SIGTERM)  # also where a background shell had Ctrl-C ignored
        status = run.wait(60)
    looks = [look for look in looks if look["rounds"]] or looks[-2:]  # without its start
    size = max(2, len(looks) // _PARTS)
    parts = [_part(looks[first : first + size]) for first in range(0, len(looks) - size + 1, size)]
    write_json(out / "soak.json", {"parts": parts, "looks": looks})
    _draw(parts, looks, out / "soak.png")
    if status != INTERRUPTED:
        raise RuntimeError(f"the run ended with status {status}: {out / 'soak.log'}")
    return [
        f"{one['minutes']:.0f} min, {one['rounds']:.0f} rounds: {one['memory_mb']:.0f} MB, {one['descriptors']:.0f} "
        f"files, {one['threads']:.0f} threads, {one['cpu_seconds']:.2f} s of CPU a round"
        for one in parts
    ]


def _look(pid: int, journal: Path, seconds: float) -> Look:
    process = Path(f"/proc/{pid}")
    spent = (process / "stat").read_text().rpartition(")")[2].split()
    return {
        "minutes": seconds / 60,
        "rounds": len(list(journal.glob("training-*"))),
        "memory_mb": int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": int(spent[17]),
        "cpu_seconds": (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK"),
    }


def _part(looks: Sequence[Look]) -> Look:
    first, last = looks[0], looks[-1]
    medians = {name: statistics.median(one[name] for one in looks) for name in ("memory_mb", "descriptors", "threads")}
    spent, done = (last[name] - first[name] for name in ("cpu_seconds", "rounds"))
    return {"minutes": last["minutes"], "rounds": last["rounds"], **medians, "cpu_seconds": spent / max(1, done)}


def _draw(parts: Sequence[Look], looks: Sequence[Look], file: Path) -> None:
    with picture(file, 10, 5) as figure:
        for axes, (name, label) in zip(figure.subplots(2, 2).flat, _LABELS.items(), strict=True):
            shown = parts if name == "cpu_seconds" else looks
            axes.plot([one["minutes"] for one in shown], [one[name] for one in shown])
            axes.set(xlabel="minutes", ylabel=label, ylim=(0, 1.1 * max(one[name] for one in shown)))
        figure.suptitle(f"{looks[-1]['rounds']:,} rounds of preset tiny in one process")
