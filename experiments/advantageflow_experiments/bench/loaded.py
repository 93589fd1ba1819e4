"""A round of training on a machine that others use: how much longer it takes, with threads that wait and that spin.

Each measurement is a process of its own, as the way in which threads wait is settled when torch is loaded.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from advantageflow.processes import WAITING
from advantageflow.settings import RunSettings
from advantageflow.store.files import write_json

JSON_FILE = "loaded.json"
_BUSY = "while True: pass"
_SPINNING = dict.fromkeys(WAITING, "")  # as torch's own defaults are


def measure_loaded(settings: RunSettings, *, load: int, repeats: int, threads: int, out: Path) -> dict[str, float]:
    """Seconds of the preset's round, the median of the repeats, quiet and beside so many busy processes.
    Raises subprocess.CalledProcessError: a round failed; its output says why.

    Also written as loaded.json into the folder `out`.
    """
    arguments = [sys.executable, "-m", __name__, settings.model_dump_json(), str(threads), str(repeats)]

    def seconds(waiting: dict[str, str]) -> float:
        environment = {name: value for name, value in (os.environ | waiting).items() if value}
        done = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return float(statistics.median(json.loads(done.stdout)))

    found = {"waiting, quiet": seconds(WAITING), "spinning, quiet": seconds(_SPINNING)}
    with _busy(load):
        found |= {f"waiting, load {load}": seconds(WAITING), f"spinning, load {load}": seconds(_SPINNING)}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / JSON_FILE, found)
    return found


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that each keep a core busy."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _main(settings: str, threads: str, repeats: str) -> None:
    """Train the preset's round again and again; prints the seconds of each, the first left out."""
    import torch

    from advantageflow_experiments.bench.embedded import embedded_bench
    from advantageflow_experiments.bench.peers import make_ladder

    torch.set_num_threads(int(threads))
    row, taken = make_ladder(embedded_bench(RunSettings.model_validate_json(settings), int(threads), 0).work)[-1], []
    for _ in range(int(repeats) + 1):
        row.prepare()
        started = time.perf_counter()
        row.run()
        taken.append(time.perf_counter() - started)
    print(json.dumps(taken[1:]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
